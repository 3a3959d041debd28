"""Results as they are kept, and as people read them."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).parent
MARKED = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)


def publish(name: str, results: dict[str, Any], table: Callable[[dict[str, Any]], str], *, smoke: bool) -> None:
    """Write results/<name>.json, and `table` of them between the markers of <name>/README.md.

    A smoke run measures nothing: what it found is printed and not kept.
    """
    text = json.dumps(results, indent=2) + "\n"
    if smoke:
        click.echo(text)
        return
    (HERE / "results" / f"{name}.json").write_text(text)
    readme = HERE / name / "README.md"
    readme.write_text(MARKED.sub(lambda _: table(results), readme.read_text()))


def circumstances(results: dict[str, Any]) -> str:
    """When, on what and how often it was measured."""
    machine = results["machine"]
    repeat = results["settings"]["repeat"]
    often = "once" if repeat == 1 else f"{repeat} times: median, and the least in brackets"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{results['date']}, {machine['cpus']} processors, {machine['memory_gb']:.0f} GB, load average "
        f"{machine['load_average']:.1f} at the start; {versions}. "
        f"Each step {often}."
    )


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of words in the first column and of figures in the others."""
    head = list(columns)
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|---|{'--:|' * (len(head) - 1)}", *lines[1:]])


def figures(spread: dict[str, Any], digits: int) -> str:
    """Of several repetitions."""
    return f"{spread['median']:,.{digits}f} ({spread['least']:,.{digits}f})"
