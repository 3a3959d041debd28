"""The results as a table for people."""

from typing import Any

from report import circumstances, figures, markdown


def table(results: dict[str, Any]) -> str:
    """What each step takes on each size, beside the smallest, in Markdown."""
    sizes = results["sizes"]
    smallest = sizes[0]["steps"]
    rows = [
        [
            step["what"],
            f"{size['models']:,}",
            figures(step["wall_seconds"], 1),
            f"{step['wall_seconds']['median'] / smallest[name]['wall_seconds']['median']:.1f}",
            figures(step["cpu_seconds"], 1),
            figures(step["peak_mb"], 0),
            f"{step['statements']:,}",
        ]
        for name in smallest
        for size in sizes
        if (step := size["steps"].get(name))
    ]
    tests = ", ".join(f"{size['tests']:,} unit tests with {size['models']:,} models" for size in sizes)
    columns = (
        "command",
        "models",
        "seconds",
        "times the smallest",
        "of processors, without start-up",
        "peak memory, MB",
        "statements",
    )
    return f"{circumstances(results)} There are {tests}.\n\n{markdown(columns, rows)}\n"
