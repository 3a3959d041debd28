"""The loader: what `meshflow load --only retail.sales` does, from lock to load log."""

import os
from pathlib import Path

import click

from meshflow.loading.load import load_tables, session
from meshflow.loading.report import JsonReporter


def load(data: str) -> int:
    """Everything, if nothing has loaded in `data` yet, or what is new; returns the rows read."""
    return _load(data, full_refresh=False)


def refresh(data: str) -> int:
    """Everything, merged into what has loaded; returns the rows read."""
    return _load(data, full_refresh=True)


def _load(data: str, *, full_refresh: bool) -> int:
    with (
        JsonReporter() as reporter,
        session(os.environ["MESHFLOW_LOADER_URL"], "live", Path(data), 0, reporter) as held,
    ):
        if held is None or not load_tables(held, reporter, only=["retail.sales"], full_refresh=full_refresh):
            raise click.ClickException("The benchmark's load was rejected")
        [(rows,)] = held.destination.query("SELECT row_count FROM loader.loads ORDER BY started_at DESC LIMIT 1")
        return int(rows)
