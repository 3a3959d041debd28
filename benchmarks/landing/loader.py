"""The loader: what `meshflow land --only retail.sales` does, from lock to ledger."""

import os
from pathlib import Path

import click

from meshflow.landing.load import land, session
from meshflow.landing.report import Machines


def load(data: str) -> int:
    """Everything, if nothing has landed in `data` yet, or what is new; returns the rows read."""
    return _land(data, full_refresh=False)


def refresh(data: str) -> int:
    """Everything, merged into what has landed; returns the rows read."""
    return _land(data, full_refresh=True)


def _land(data: str, *, full_refresh: bool) -> int:
    with Machines() as watcher, session(os.environ["MESHFLOW_LOADER_URL"], "landed", Path(data), 0, watcher) as held:
        if held is None or not land(held, watcher, only=["retail.sales"], full_refresh=full_refresh):
            raise click.ClickException("The benchmark's load was refused")
        [(rows,)] = held.destination.query("SELECT row_count FROM landing.loads ORDER BY started_at DESC LIMIT 1")
        return int(rows)
