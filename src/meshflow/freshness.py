"""Freshness: how far an environment has processed its sources, model by model. Everything that shows it reads it here.

It reads SQLMesh's state and the load log. On DuckDB it opens RAW only, to read: that keeps no run waiting, and a load
for milliseconds. On gateway `local` the state is in the warehouse, which it opens too.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import duckdb
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.context import Context
from sqlmesh.core.environment import Environment
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.utils.dag import DAG
from sqlmesh.utils.date import to_datetime

from meshflow.names import name_parts
from meshflow.project import deployability, find_environment, open_project
from meshflow.terminal import echo_json, grid, show

LOADED = """
    SELECT source, table_name, MAX(started_at), MAX(CASE WHEN row_count = 0 THEN NULL ELSE started_at END)
    FROM {catalog}LOADER.LOADS
    WHERE finished_at IS NOT NULL
    GROUP BY source, table_name
"""
"""By table: start of the newest finished load, and of the newest one with a row."""

LEVELS = "freshness_hours"
"""The variable in config.yaml with the hours after which data is late, by schema or `default`."""

LOCK_SECONDS = 30
"""How long to wait for a load that has RAW open. After that, hours without a row count as not processed."""

RUNBOOK = "docs/runbooks/late-data.md"

SCHEDULED = {"source_loaded", "parents_processed"}
"""The signals that let an interval run once its sources are loaded. Another one, as `reconciled`, may take a week."""

NEVER = datetime(9000, 1, 1, tzinfo=UTC)

Interval = tuple[int, int]
Loads = tuple[datetime, datetime | None]
"""Start of the newest finished load, and of the newest one with a row. Of a source, all tables have finished it."""
LoadLog = Mapping[tuple[str, str], Loads]
"""Loads by source and table, such as ('retail', 'sales'), in lower case."""


@dataclass(frozen=True)
class End:
    """Where the processed data of one table ends, UTC."""

    table: str
    """Such as `retail.fct_sales` or, of a source, `raw.retail.sales`."""
    until: datetime
    """The table has all rows that were loaded before."""
    due: datetime
    """When more is due: at once, or of a daily table at the next midnight."""
    is_source: bool


@dataclass(frozen=True)
class Freshness:
    """How far a model has processed its sources, UTC."""

    model: str
    """Such as `retail.fct_sales`."""
    oldest: End
    """The earliest end of the tables that the model reads, itself included. Of equal ones, it is the one upstream."""
    first_due: End
    """The end of the table for which more is due first. Hourly tables are due before daily ones that end earlier."""
    level: timedelta | None
    """The service level of the model's schema; None if it has none."""

    @property
    def until(self) -> datetime:
        """The model shows all rows that were loaded before."""
        return self.oldest.until

    @property
    def late_at(self) -> datetime | None:
        """When the model is late, unless it is processed before; None if it never is."""
        return None if self.level is None or self.first_due.due == NEVER else self.first_due.due + self.level

    def is_late(self, now: datetime) -> bool:
        return self.late_at is not None and now > self.late_at

    def laggard(self, now: datetime) -> End:
        """The table that keeps the model behind: the model itself, or one upstream."""
        return self.first_due if self.is_late(now) else self.oldest


def read_freshness(context: Context, environment: str, wait: float = LOCK_SECONDS) -> dict[str, Freshness]:
    """The freshness of each model of `environment` that has new rows now and then, by name.

    Views end where the tables that they read end. Reference data never change, so what reads nothing else is left out.
    On DuckDB, the load log is waited for up to `wait` seconds, while a load has it open.
    Raises click.ClickException if the environment has never been built, or a service level is wrong.
    """
    return freshness(context, find_environment(context, environment), read_load_log(context, wait))


def freshness(
    context: Context, built: Environment, log: LoadLog | None, read: Collection[Snapshot] | None = None
) -> dict[str, Freshness]:
    """As `read_freshness`, from the load log, and from the environment's snapshots if they have been read."""
    levels = service_levels(context)
    read = context.state_reader.get_snapshots(built.snapshots).values() if read is None else read
    snapshots, index = {one.name: one for one in read if one.is_model}, deployability(built, read)
    intervals = {
        name: one.intervals if index.is_representative(one) else one.dev_intervals for name, one in snapshots.items()
    }
    found = {}
    for name, tables in ends(snapshots, intervals, log).items():
        catalog, schema, _ = name_parts(name)
        if tables and catalog != "raw":
            level = levels.get(schema, levels.get("default"))
            oldest, first_due = min(tables, key=lambda end: end.until), min(tables, key=lambda end: end.due)
            found[_display(name)] = Freshness(_display(name), oldest, first_due, level)
    return found


def service_levels(context: Context) -> dict[str, timedelta]:
    """The service level by schema, and of all others as `default`, from the variable LEVELS of gateway or project.

    Raises click.ClickException if it is anything else than positive hours by schema.
    """
    gateway = context.config.get_gateway(context.selected_gateway)
    levels = {**context.config.variables, **gateway.variables}.get(LEVELS, {})
    if not isinstance(levels, dict):
        raise click.ClickException(f"Variable {LEVELS} in config.yaml is {levels!r}: set hours by schema")
    schemas = {folder.name for folder in (context.path / "models").iterdir() if folder.is_dir()} | {"default"}
    for schema, hours in levels.items():
        if schema not in schemas:
            raise click.ClickException(
                f"Variable {LEVELS} in config.yaml has '{schema}': choose from {', '.join(sorted(schemas))}"
            )
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours < float("inf"):
            raise click.ClickException(
                f"Variable {LEVELS} in config.yaml has {hours!r} for {schema}: set the hours after which data is late"
            )
    return {schema: timedelta(hours=hours) for schema, hours in levels.items()}


def ends(
    snapshots: Mapping[str, Snapshot],
    intervals: Mapping[str, Sequence[Interval]],
    log: LoadLog | None,
) -> dict[str, tuple[End, ...]]:
    """The ends of the tables that each model reads, itself included, upstream first. Views have no end of their own.

    `intervals` are by model. `log` has the loads by table, such as ('retail', 'sales'), in lower case. It is None if
    nothing is loaded, or if it can't be read: then only intervals count.
    """
    sources = source_tables(snapshots)
    loads = {name: _loads(snapshots[name], log or {}) for name in sources}
    starts = {} if log is None else {name: start for name, (start, _) in loads.items()}
    source_ends = {name: End(_display(name), start, start, is_source=True) for name, start in starts.items()}
    waits_for: dict[str, set[str]] = {}
    on_occasion: set[str] = set()
    read: dict[str, tuple[End, ...]] = {}
    for name in DAG({name: _parents(snapshot) & snapshots.keys() for name, snapshot in snapshots.items()}).sorted:
        snapshot, parents = snapshots[name], sorted(_parents(snapshots[name]) & snapshots.keys())
        own = {table for table, source in sources.items() if source == _source(snapshot)}
        waits_for[name] = own.union(*(waits_for[parent] for parent in parents))
        if not _signals(snapshot).keys() <= SCHEDULED or on_occasion.intersection(parents):
            on_occasion.add(name)
        found = [source_ends[name]] if name in source_ends else []
        found += [end for parent in parents for end in read[parent]]
        if waits_for[name] and snapshot.is_materialized:
            found += [source_ends[table] for table in sorted(waits_for[name]) if table in source_ends]
            until = _start(snapshot)
            if intervals[name]:
                until = processed_until(intervals[name], [loads[table] for table in waits_for[name]])
            due = NEVER if name in on_occasion else _due(snapshot, until)
            newest = min((source_ends[table].until for table in waits_for[name] if table in source_ends), default=until)
            if snapshot.node.cron_next(until) > newest:
                due = max(due, newest)  # it can't process more before the next load
            found.append(End(_display(name), until, due, is_source=False))
        read[name] = tuple(dict.fromkeys(found))
    return read


def source_tables(snapshots: Mapping[str, Snapshot]) -> dict[str, str]:
    """The tables of RAW with their sources, such as 'retail': those that the signal `source_loaded` waits for."""
    waited_for = {_source(snapshot) for snapshot in snapshots.values()}
    parts = {name: name_parts(name) for name in snapshots}
    return {name: schema for name, (catalog, schema, _) in parts.items() if catalog == "raw" and schema in waited_for}


def processed_until(intervals: Sequence[Interval], loads: Sequence[Loads]) -> datetime:
    """The end of a table's intervals, or of those before the first gap.

    If no source has loaded a row since, it is the newest load: a run without new rows processes nothing.
    """
    end: datetime = to_datetime(intervals[0][1])
    is_waiting = len(intervals) > 1 or any(rows_started_at and rows_started_at >= end for _, rows_started_at in loads)
    return end if is_waiting else max(end, min((started_at for started_at, _ in loads), default=end))


def show_freshness(environment: str, gateway: str, *, as_json: bool) -> None:
    """Print the models of `environment`, late ones first.

    Raises click.ClickException, naming the table that is furthest behind, if a model is late.
    """
    context = open_project(gateway, load=False)
    built, now = find_environment(context, environment), datetime.now(UTC)
    found = sorted(
        read_freshness(context, built.name).values(), key=lambda one: (not one.is_late(now), one.until, one.model)
    )
    if not found:
        raise click.ClickException(f"No model of {built.name} on gateway {gateway} reads a source: see signals/")
    late = [one for one in found if one.is_late(now)]
    if as_json:
        models = [_to_json(one, now) for one in found]
        echo_json({"environment": built.name, "gateway": gateway, "at": now, "late": bool(late), "models": models})
    else:
        table = grid("model", "until, UTC", "hours old", "late at, UTC", "furthest behind", right=("hours old",))
        for one in found:
            late_at = f"{one.late_at:%Y-%m-%d %H:%M}" if one.late_at else "never"
            late_at += " (late)" if one.is_late(now) else ""
            age = f"{_hours(now - one.until):.1f}"
            table.add_row(one.model, f"{one.until:%Y-%m-%d %H:%M}", age, late_at, one.laggard(now).table)
        show(table)
    if late:
        raise click.ClickException(describe_late(late, len(found), built.name))


def describe_late(late: Sequence[Freshness], count: int, environment: str) -> str:
    """How many of `count` models are `late`, which table keeps them behind, and where to look."""
    laggard = min((one.first_due for one in late), key=lambda end: end.due)
    until = f"{laggard.until:%Y-%m-%d %H:%M} UTC"
    reason = (
        f"its last load began at {until}, see the log of `meshflow load`"
        if laggard.is_source
        else f"it lacks what was loaded since {until}, see the log of `meshflow run`"
    )
    return (
        f"{len(late)} of {count} models of {environment} are late. "
        f"{laggard.table} is furthest behind: {reason} ({RUNBOOK})"
    )


def _to_json(one: Freshness, now: datetime) -> dict[str, object]:
    return {
        "model": one.model,
        "until": one.until,
        "age_hours": round(_hours(now - one.until), 3),
        "level_hours": one.level and _hours(one.level),
        "late_at": one.late_at,
        "late": one.is_late(now),
        "laggard": one.laggard(now).table,
    }


def _hours(duration: timedelta) -> float:
    return duration / timedelta(hours=1)


def _parents(snapshot: Snapshot) -> set[str]:
    return {parent.name for parent in snapshot.parents}


def _start(snapshot: Snapshot) -> datetime:
    start: datetime = to_datetime(snapshot.node.start or "1970-01-01")
    return start


def _loads(table: Snapshot, log: Mapping[tuple[str, str], Loads]) -> Loads:
    """Of a source table that has never been loaded, the history's start."""
    _, schema, name = name_parts(table.name)
    return log.get((schema, name), (_start(table), None))


def _due(snapshot: Snapshot, until: datetime) -> datetime:
    """When a table that is processed until `until` is processed again. Hourly tables are processed by every run."""
    unit = snapshot.node.interval_unit
    due: datetime = snapshot.node.cron_next(until) if unit and unit.is_day else until
    return due


def _signals(snapshot: Snapshot) -> dict[str, Any]:
    """The signals of a model with their arguments, by name."""
    return dict(snapshot.model.signals) if snapshot.is_model else {}


def _source(snapshot: Snapshot) -> str | None:
    """The source that the model waits for by its signal `source_loaded`, such as 'retail'."""
    signals = _signals(snapshot)
    return str(signals["source_loaded"]["source"].name).lower() if "source_loaded" in signals else None


def _display(name: str) -> str:
    """`retail.fct_sales` for SQLMesh's name of a model, `raw.retail.sales` for that of a source table."""
    catalog, schema, table = name_parts(name)
    return f"raw.{schema}.{table}" if catalog == "raw" else f"{schema}.{table}"


def read_load_log(context: Context, wait: float = LOCK_SECONDS, *, is_open: bool = False) -> LoadLog | None:
    """The loads by table; None if there is no load log, or if a load keeps it to itself for `wait` seconds.

    `is_open`: this process has the warehouse open, as a run has, and no load is running on DuckDB.
    """
    connection = context.config.get_connection(context.selected_gateway)
    if is_open or not isinstance(connection, DuckDBConnectionConfig):
        try:
            rows = context.engine_adapter.fetchall(LOADED.format(catalog="RAW."))
        except duckdb.CatalogException:
            return None  # the sample, which nothing loads
    else:
        raw = (connection.catalogs or {})["RAW"]
        found = _read(raw if isinstance(raw, str) else raw.path or "", wait)
        if found is None:
            return None
        rows = found
    # RAW has no case.
    return {
        (source.lower(), table.lower()): (to_datetime(start), to_datetime(rows_start) if rows_start else None)
        for source, table, start, rows_start in rows
    }


def _read(path: str, wait: float) -> list[tuple[Any, ...]] | None:
    deadline = time.monotonic() + wait
    while Path(path).exists():
        try:
            with duckdb.connect(path, read_only=True) as raw:
                return raw.execute(LOADED.format(catalog="")).fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            # No load yet. Or the sample, which nothing loads: SQLMesh has opened its RAW here, with its state.
            return None
        except duckdb.IOException:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
    return None
