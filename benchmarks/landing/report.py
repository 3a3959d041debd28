"""The results as a table for people."""

import re
from pathlib import Path
from typing import Any

MARKED = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)


def write_table(results: dict[str, Any], readme: Path) -> None:
    """Replace what stands between the markers in `readme`."""
    readme.write_text(MARKED.sub(lambda _: table(results), readme.read_text()))


def table(results: dict[str, Any]) -> str:
    """What was measured, and on what, in Markdown."""
    machine, settings, steps = results["machine"], results["settings"], results["steps"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    circumstances = (
        f"{results['date']}, {machine['cpus']} processors, {machine['memory_gb']:.0f} GB, load average "
        f"{machine['load_average']:.1f} at the start; {versions}. "
        f"Each step {settings['repeat']} times: median, and the least in brackets."
    )
    lines = [
        "| step | rows | seconds | times the limit | with imports | times the limit | rows/s | peak memory, MB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for step in steps.values():
        limit = steps.get(step["limit"])
        cells = [
            step["what"],
            f"{step['rows']:,}",
            _figures(step["seconds"], 2),
            _ratio(step, limit, "seconds"),
            _figures(step["seconds_with_imports"], 2),
            _ratio(step, limit, "seconds_with_imports"),
            f"{step['rows'] / step['seconds']['median']:,.0f}",
            _figures(step["peak_mb"], 0),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([circumstances, "", *lines, "", *map(_verdict, results["targets"]), ""])


def _figures(figures: dict[str, Any], digits: int) -> str:
    return f"{figures['median']:,.{digits}f} ({figures['least']:,.{digits}f})"


def _ratio(step: dict[str, Any], limit: dict[str, Any] | None, figure: str) -> str:
    return f"{step[figure]['median'] / limit[figure]['median']:.2f}" if limit else ""


def _verdict(target: dict[str, Any]) -> str:
    outcome = "met" if target["ratio"] <= target["at_most"] else "**missed**"
    return f"- {target['what']}: {target['ratio']:.2f}, at most {target['at_most']:.2f}: {outcome}"
