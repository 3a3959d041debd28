"""The loader: what `meshflow load --only retail.sales` does, from the lock to the entry in the load log."""

import os
from pathlib import Path

import click

from meshflow.loading.load import load_tables, session
from meshflow.loading.report import JsonReporter


def load(data: str) -> int:
    """Load all rows, or those changed since the last load into `data`; returns the rows read."""
    return _load(data, full_refresh=False)


def refresh(data: str) -> int:
    """Load all rows and merge them into the existing table; returns the rows read."""
    return _load(data, full_refresh=True)


def _load(data: str, *, full_refresh: bool) -> int:
    with (
        JsonReporter() as reporter,
        session(os.environ["MESHFLOW_LOADER_URL"], "live", Path(data), 0, reporter) as opened,
    ):
        if opened is None or not load_tables(opened, reporter, only=["retail.sales"], full_refresh=full_refresh):
            raise click.ClickException("`meshflow load --only retail.sales` failed")
        [(rows,)] = opened.destination.query("SELECT row_count FROM loader.loads ORDER BY started_at DESC LIMIT 1")
        return int(rows)
