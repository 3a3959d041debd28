"""The results as a Markdown table."""

from typing import Any

from report import circumstances, figures, markdown


def table(results: dict[str, Any]) -> str:
    """The figures of each step, their ratio to the baseline, and the targets."""
    steps = results["steps"]
    rows = []
    for step in steps.values():
        baseline = steps.get(step["baseline"])
        rows.append(
            [
                step["what"],
                f"{step['rows']:,}",
                figures(step["seconds"], 2),
                _ratio(step, baseline, "seconds"),
                figures(step["seconds_with_imports"], 2),
                _ratio(step, baseline, "seconds_with_imports"),
                f"{step['rows'] / step['seconds']['median']:,.0f}",
                figures(step["peak_mb"], 0),
            ]
        )
    columns = (
        "step",
        "rows",
        "seconds",
        "÷ baseline",
        "seconds with imports",
        "÷ baseline",
        "rows/s",
        "peak memory, MB",
    )
    outcomes = "\n".join(map(_outcome, results["targets"]))
    return f"{circumstances(results)}\n\n{markdown(columns, rows)}\n\n{outcomes}\n"


def _ratio(step: dict[str, Any], baseline: dict[str, Any] | None, figure: str) -> str:
    return f"{step[figure]['median'] / baseline[figure]['median']:.2f}" if baseline else ""


def _outcome(target: dict[str, Any]) -> str:
    outcome = "met" if target["ratio"] <= target["at_most"] else "**missed**"
    return f"- {target['what']}: {target['ratio']:.2f}, at most {target['at_most']:.2f}: {outcome}"
