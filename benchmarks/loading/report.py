"""The results as a table for people."""

from typing import Any

from report import circumstances, figures, markdown


def table(results: dict[str, Any]) -> str:
    """What was measured, and on what, in Markdown."""
    steps = results["steps"]
    rows = []
    for step in steps.values():
        limit = steps.get(step["limit"])
        rows.append(
            [
                step["what"],
                f"{step['rows']:,}",
                figures(step["seconds"], 2),
                _ratio(step, limit, "seconds"),
                figures(step["seconds_with_imports"], 2),
                _ratio(step, limit, "seconds_with_imports"),
                f"{step['rows'] / step['seconds']['median']:,.0f}",
                figures(step["peak_mb"], 0),
            ]
        )
    columns = (
        "step",
        "rows",
        "seconds",
        "times the limit",
        "with imports",
        "times the limit",
        "rows/s",
        "peak memory, MB",
    )
    validations = "\n".join(map(_validation, results["targets"]))
    return f"{circumstances(results)}\n\n{markdown(columns, rows)}\n\n{validations}\n"


def _ratio(step: dict[str, Any], limit: dict[str, Any] | None, figure: str) -> str:
    return f"{step[figure]['median'] / limit[figure]['median']:.2f}" if limit else ""


def _validation(target: dict[str, Any]) -> str:
    outcome = "met" if target["ratio"] <= target["at_most"] else "**missed**"
    return f"- {target['what']}: {target['ratio']:.2f}, at most {target['at_most']:.2f}: {outcome}"
