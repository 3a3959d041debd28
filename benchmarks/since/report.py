"""The results as a table for people."""

from typing import Any

from report import circumstances, markdown

STEPS = ("build", "hour")
SHOWN = 15
"""Parts that are named: those that changed most."""


def table(results: dict[str, Any]) -> str:
    """Seconds of DuckDB, before and now, in Markdown."""
    steps, settings = results["steps"], results["settings"]
    parts = {step: found["parts"] for step, found in steps.items()}
    names = {name for found in parts.values() for name in found}

    def saved(name: str) -> float:
        return sum(parts[f"{step}, before"].get(name, 0) - parts[f"{step}, now"].get(name, 0) for step in STEPS)

    rows = [["**all**", *(f"{found['seconds']['median']:.1f}" for found in steps.values())]]
    rows += [
        [name, *(f"{found.get(name, 0):.1f}" for found in parts.values())]
        for name in sorted(names, key=lambda name: (-abs(saved(name)), name))[:SHOWN]
    ]
    differing = ", ".join(results["differing"])
    equal = (
        f"Rows or their types differ in {differing}."
        if differing
        else f"All {results['tables']} tables hold equal rows."
    )
    what = f"{settings['sales']:,} order lines, models of {settings['commit']} before. {equal}"
    return f"{circumstances(results)}\n\n{what}\n\n{markdown(('seconds', *steps), rows)}\n"
