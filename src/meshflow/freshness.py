"""The freshness check: how far an environment has processed its sources.

It reads SQLMesh's state and the load log. On DuckDB it opens RAW only, to read: that keeps no run waiting, and a load
for milliseconds.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import duckdb
from sqlglot import exp
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.context import Context
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.utils.date import to_datetime

from meshflow.project import open_project

LOADED = """
    SELECT source, table_name, MAX(started_at), MAX(CASE WHEN row_count = 0 THEN NULL ELSE started_at END)
    FROM {catalog}LOADER.LOADS
    WHERE finished_at IS NOT NULL
    GROUP BY source, table_name
"""
"""By table: start of the newest finished load, and of the newest one with a row."""

Interval = tuple[int, int]
Loads = tuple[datetime, datetime | None]
"""Of one source: start of the newest load that all of its tables have finished, and of the newest load with a row."""

LOCK_SECONDS = 30
"""How long to wait for a load that has RAW open. After that, hours without a row count as not processed."""


@dataclass(frozen=True)
class Progress:
    """How far an environment is processed: UTC, and the model that is furthest behind."""

    until: datetime
    model: str


def progress(environment: str, gateway: str) -> Progress:
    """How far every table of `environment` that loads change has processed its sources.

    A run without new rows computes nothing, so SQLMesh's intervals stand still while the sources do. Then a table
    counts as processed until the newest load. Stopped loads show as well as stopped runs. Views and reference data are
    left out: they have no rows of their own, or never change.
    Raises click.ClickException if the environment has never been built.
    """
    context = open_project(gateway, load=False)
    built = context.state_reader.get_environment(environment)
    if built is None:
        raise click.ClickException(
            f"There is no environment '{environment}' on gateway {gateway}: "
            f"`sqlmesh --gateway {gateway} plan {environment}` builds it"
        )
    snapshots = {one.name: one for one in context.state_reader.get_snapshots(built.snapshots).values()}
    loads = _loads(context, gateway, snapshots)
    ends = {
        snapshot.name: processed_until(snapshot.intervals, [loads[source] for source in sources if source in loads])
        for snapshot, sources in moving_tables(snapshots).items()
        if snapshot.intervals
    }
    if not ends:
        raise click.ClickException(
            f"'{environment}' on gateway {gateway} has never processed an interval: see the log of `sqlmesh run`"
        )
    model = min(ends, key=lambda name: (ends[name], name))
    return Progress(ends[model], model.replace('"', "").lower())


def require_fresh(environment: str, gateway: str, after: timedelta) -> Progress:
    """Return the progress of `environment`. Raises click.ClickException if it is more than `after` behind now."""
    found = progress(environment, gateway)
    age = datetime.now(UTC) - found.until
    if age > after:
        hours = age.total_seconds() / 3600
        until = f"{found.until:%Y-%m-%d %H:%M} UTC, {hours:.1f} h ago"
        raise click.ClickException(
            f"{environment} on gateway {gateway} is processed until {until}; {found.model} is furthest behind. Check "
            "the logs of `meshflow load` and `sqlmesh run` for failures or a stopped scheduler: "
            "docs/runbooks/late-data.md"
        )
    return found


def moving_tables(snapshots: Mapping[str, Snapshot]) -> dict[Snapshot, set[str]]:
    """The tables that each run with new rows writes, with their sources. A daily table is not late before midnight."""
    units = {snapshot: snapshot.node.interval_unit for snapshot in snapshots.values() if snapshot.is_materialized}
    return {
        snapshot: sources
        for snapshot, unit in units.items()
        if not (unit and unit.is_day) and (sources := _sources(snapshot, snapshots))
    }


def processed_until(intervals: Sequence[Interval], loads: Sequence[Loads]) -> datetime:
    """The end of the last of a table's intervals or, if no source has loaded a row since, the newest load."""
    end: datetime = to_datetime(intervals[-1][1])
    is_waiting = any(rows_started_at and rows_started_at >= end for _, rows_started_at in loads)
    return end if is_waiting else max(end, min((started_at for started_at, _ in loads), default=end))


def _sources(snapshot: Snapshot, snapshots: Mapping[str, Snapshot]) -> set[str]:
    """The sources that the model reads: those of the signal `source_loaded` upstream."""
    signals = dict(snapshot.model.signals) if snapshot.is_model else {}
    own = {signals["source_loaded"]["source"].name.lower()} if "source_loaded" in signals else set()
    return own.union(*(_sources(snapshots[parent.name], snapshots) for parent in snapshot.parents))


def _loads(context: Context, gateway: str, snapshots: Iterable[str]) -> dict[str, Loads]:
    """By source, if each of its tables has been loaded; empty if there is no load log, or a load keeps it to itself."""
    connection = context.config.get_connection(gateway)
    if not isinstance(connection, DuckDBConnectionConfig):
        rows = context.engine_adapter.fetchall(LOADED.format(catalog="RAW."))
    else:
        raw = (connection.catalogs or {})["RAW"]
        rows = _read(raw if isinstance(raw, str) else raw.path or "")
    # RAW has no case.
    found = {(source.lower(), table.lower()): (start, rows_start) for source, table, start, rows_start in rows}
    # By the environment: the log also has tables that were taken out of the contract.
    names = [(table.db.lower(), table.name.lower()) for table in map(exp.to_table, snapshots) if table.catalog == "RAW"]
    loads = {}
    for source, _ in found:
        tables = [found.get(name) for name in names if name[0] == source]
        if tables and None not in tables:
            starts, row_starts = zip(*tables, strict=True)
            row_starts = [to_datetime(start) for start in row_starts if start]
            loads[source] = (to_datetime(min(starts)), max(row_starts, default=None))
    return loads


def _read(path: str) -> list[tuple[str, str, datetime, datetime | None]]:
    deadline = time.monotonic() + LOCK_SECONDS
    while Path(path).exists():
        try:
            with duckdb.connect(path, read_only=True) as raw:
                return raw.execute(LOADED.format(catalog="")).fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            # No load yet. Or the sample, which nothing loads: SQLMesh has opened its RAW here, with its state.
            return []
        except duckdb.IOException:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
    return []
