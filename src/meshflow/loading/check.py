"""The check of sources before a load: `meshflow source check`."""

import click

from meshflow.loading.contract import Table, contract, source_tables
from meshflow.loading.reader import Reader, TableError
from meshflow.postgres import unverified
from meshflow.terminal import echo_json, grid, show


def check_tables(url: str, *, as_json: bool = False) -> bool:
    """Print for each table of the contract whether the role of `url` can load it, and with which cursor.

    Returns whether it can load all of them. Raises click.ClickException if the server can't be loaded from.
    """
    tables = source_tables(contract())
    results: list[dict[str, str | None]] = []
    with Reader.open(url) as reader:
        if warning := unverified(url):
            click.echo(f"Warning: {warning}", err=True)
        reader.take_snapshot(tables)
        for table in tables:
            try:
                reader.new_columns(table)
                cursor = _cursor(reader, table)
            except TableError as error:
                results.append({"table": str(table), "cursor": None, "error": str(error)})
            else:
                results.append({"table": str(table), "cursor": cursor, "error": None})
    if as_json:
        echo_json({"tables": results})
    else:
        summary = grid("table", "cursor", "result")
        for one in results:
            summary.add_row(one["table"], one["cursor"], "rejected" if one["error"] else "can be loaded")
        show(summary)
    errors = [one["error"] for one in results if one["error"]]
    for message in errors:
        click.echo(f"Error: {message}", err=True)
    return not errors


def _cursor(reader: Reader, table: Table) -> str:
    """The cursor of the loads after the first. Raises TableError if a table without a key is too large."""
    if not table.key:
        reader.replaceable_count(table)
        return "all"
    return "updated_at" if reader.storage(table).trigger else "xmin"
