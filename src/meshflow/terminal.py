"""Tables and JSON on standard output. No value is cut: a narrow terminal folds it, a pipe gets one line per row."""

import json
import sys
from collections.abc import Collection
from datetime import date

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 10_000
"""Characters in a line where standard output is no terminal; more than any table needs."""


def grid(*columns: str, right: Collection[str] = (), title: str | None = None) -> Table:
    """An empty table with these columns; those in `right` are right-aligned."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def show(table: Table) -> None:
    """Print `table` no wider than the terminal; at full width where standard output is none."""
    # Values are plain text: markup in a name is printed as it is.
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, markup=False, emoji=False, highlight=False).print(table)


def echo_json(content: object) -> None:
    """Print `content` as one JSON document. Times are in ISO 8601, and decimals are text, which rounds nothing."""
    click.echo(json.dumps(content, default=lambda value: value.isoformat() if isinstance(value, date) else str(value)))
