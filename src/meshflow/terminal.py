"""Tables on standard output, of which nothing is cut: a narrow terminal folds values, a pipe gets whole lines."""

import sys
from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PIPED = 10_000
"""Characters in a line that goes to no terminal, more than any value has."""


def grid(*columns: str, right: Collection[str] = (), title: str | None = None) -> Table:
    """An empty table with these columns, those in `right` aligned to the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def show(table: Table) -> None:
    """Print `table` no wider than the terminal, or as wide as it is where there is none."""
    # Values are text: what looks like markup in a name stays as it is.
    Console(width=None if sys.stdout.isatty() else PIPED, markup=False, emoji=False, highlight=False).print(table)
