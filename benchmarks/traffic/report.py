"""The results as a Markdown table."""

from typing import Any

from report import circumstances, figures, markdown


def table(results: dict[str, Any]) -> str:
    """Rows a second of each step, and their ratio to the slowest step."""
    steps = results["steps"]
    slowest = steps["insert"]["rows_per_second"]["median"]
    rows = [
        [
            step["what"],
            f"{step['rows']:,}",
            figures(step["rows_per_second"], 0),
            f"{step['rows_per_second']['median'] / slowest:,.1f}",
        ]
        for step in steps.values()
    ]
    return f"{circumstances(results)}\n\n{markdown(('step', 'rows', 'rows/s', '÷ one INSERT each'), rows)}\n"
