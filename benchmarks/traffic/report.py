"""The results as a table for people."""

from typing import Any

from report import circumstances, figures, markdown


def table(results: dict[str, Any]) -> str:
    """How many rows a second, and how many times the slowest way's, in Markdown."""
    steps = results["steps"]
    slowest = steps["recipe"]["rows_per_second"]["median"]
    rows = [
        [
            step["what"],
            f"{step['rows']:,}",
            figures(step["rows_per_second"], 0),
            f"{step['rows_per_second']['median'] / slowest:,.1f}",
        ]
        for step in steps.values()
    ]
    return f"{circumstances(results)}\n\n{markdown(('what', 'rows', 'rows/s', 'times the recipe'), rows)}\n"
