"""The results as a Markdown table."""

from typing import Any

from report import circumstances, markdown

STEPS = ("build", "hour")
SHOWN = 15
"""Number of parts shown: those that changed most."""


def table(results: dict[str, Any]) -> str:
    """Seconds of DuckDB, before and now."""
    steps, settings = results["steps"], results["settings"]
    parts = {step: figures["parts"] for step, figures in steps.items()}
    names = {name for seconds in parts.values() for name in seconds}

    def saved(name: str) -> float:
        return sum(parts[f"{step}, before"].get(name, 0) - parts[f"{step}, now"].get(name, 0) for step in STEPS)

    rows = [["**all**", *(f"{figures['seconds']['median']:.1f}" for figures in steps.values())]]
    rows += [
        [name, *(f"{seconds.get(name, 0):.1f}" for seconds in parts.values())]
        for name in sorted(names, key=lambda name: (-abs(saved(name)), name))[:SHOWN]
    ]
    differing = ", ".join(results["differing"])
    equality = (
        f"Rows or their types differ in {differing}."
        if differing
        else f"All {results['tables']} tables contain equal rows."
    )
    what = f"{settings['sales']:,} order lines, models of {settings['commit']} before. {equality}"
    return f"{circumstances(results)}\n\n{what}\n\n{markdown(('seconds', *steps), rows)}\n"
