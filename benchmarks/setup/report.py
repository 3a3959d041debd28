"""The results as a Markdown table."""

from typing import Any

from report import circumstances, markdown


def table(results: dict[str, Any]) -> str:
    """Seconds before and now, and their ratio."""
    rows = [
        [step, f"{of['before']:,.1f}", f"{of['now']:,.1f}", f"{of['before'] / of['now']:.1f}"]
        for step, of in results["seconds"].items()
    ]
    commit = results["settings"]["commit"]
    columns = ("seconds", f"before ({commit})", "now", "before ÷ now")
    return f"{circumstances(results)}\n\n{markdown(columns, rows)}\n"
