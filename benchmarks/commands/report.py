"""The results as a Markdown table."""

from typing import Any

from report import circumstances, figures, markdown


def table(results: dict[str, Any]) -> str:
    """The figures of each step on each size, and their ratio to the smallest size."""
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
        "÷ smallest",
        "CPU seconds, without start-up",
        "peak memory, MB",
        "statements",
    )
    return f"{circumstances(results)} There are {tests}.\n\n{markdown(columns, rows)}\n"
