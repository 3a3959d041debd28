"""Results as JSON files and as Markdown tables."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).parent
RESULTS_BLOCK = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)


def publish(name: str, results: dict[str, Any], table: Callable[[dict[str, Any]], str], *, smoke: bool) -> None:
    """Write results/<name>.json, and `table` of them between the markers of <name>/README.md.

    A smoke run measures nothing: its results are printed and not written.
    """
    text = json.dumps(results, indent=2) + "\n"
    if smoke:
        click.echo(text)
        return
    (HERE / "results" / f"{name}.json").write_text(text)
    readme = HERE / name / "README.md"
    readme.write_text(RESULTS_BLOCK.sub(lambda _: table(results), readme.read_text()))


def circumstances(results: dict[str, Any]) -> str:
    """Date, machine, versions and number of repetitions."""
    machine = results["machine"]
    repeat = results["settings"]["repeat"]
    repetitions = "once" if repeat == 1 else f"{repeat} times: median, minimum in brackets"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{results['date']}, {machine['cpus']} processors, {machine['memory_gb']:.0f} GB, load average "
        f"{machine['load_average']:.1f} at the start; {versions}. "
        f"Each step {repetitions}."
    )


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table with text in the first column and figures in the others."""
    head = list(columns)
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|---|{'--:|' * (len(head) - 1)}", *lines[1:]])


def figures(summary: dict[str, Any], digits: int) -> str:
    """Median, and the minimum in brackets."""
    return f"{summary['median']:,.{digits}f} ({summary['minimum']:,.{digits}f})"
