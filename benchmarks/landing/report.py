"""The results as a table for people."""

import re
from pathlib import Path
from typing import Any

TABLE = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)


def write_table(results: dict[str, Any], readme: Path) -> None:
    """Replace what stands between the markers in `readme`."""
    readme.write_text(TABLE.sub(lambda _: table(results), readme.read_text()))


def table(results: dict[str, Any]) -> str:
    """What was measured, on what, as Markdown."""
    machine, versions, settings = results["machine"], results["versions"], results["settings"]
    lines = [
        f"{results['date']}, {machine['cpus']} processors, {machine['memory_gb']:.0f} GB, load average "
        f"{machine['load_average']:.1f} before; {', '.join(f'{name} {version}' for name, version in versions.items())}. "
        f"Each step {settings['repeat']} times, in turn with the others: median, and the best in brackets.",
        "",
        "| step | seconds | × limit | seconds with imports | × limit | rows/s | peak memory |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for step in results["steps"]:
        limit = next((other for other in results["steps"] if other["name"] == step["limit"]), None)
        cells = [
            step["name"],
            _seconds(step["seconds"]),
            _ratio(step, limit, "seconds"),
            _seconds(step["seconds_with_imports"]),
            _ratio(step, limit, "seconds_with_imports"),
            f"{step['rows'] / step['seconds']['median']:,.0f}",
            f"{step['peak_mb']['median']:,.0f} MB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
