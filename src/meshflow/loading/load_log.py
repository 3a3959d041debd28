"""The load log, RAW.LOADER.LOADS: one row per table and attempt to load it. Loads keep no other state.

A row is written before tables in RAW change, and completed after its rows have been committed. SQLMesh's signal
`source_loaded` reads completed rows to find intervals that can't change any more. The next load finds its cursor here.
An attempt that failed before it changed a table has a row without a cursor, which no load reads. That of one that was
killed has it: the next load takes the table for changed.

Most statements are for all tables together: each takes Snowflake a tenth of a second.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import click

from meshflow.loading.contract import DELETED_AT, LOADED_AT, Table
from meshflow.loading.deletions import Deletions
from meshflow.loading.destination import Counts, Destination, values
from meshflow.loading.reader import COMPARABLE_IDS, Cursor, Snapshot, Storage, TableError


@dataclass(frozen=True)
class Load:
    """A load of one table. Times are UTC."""

    table: Table
    started_at: datetime
    cursor: Cursor
    storage: Storage
    snapshot: Snapshot
    rows: int = 0
    """New and changed rows."""
    deletions: Deletions = field(default_factory=Deletions)
    finished_at: datetime | None = None


@dataclass(frozen=True)
class Previous:
    """The newest finished load of a table."""

    xmin: int
    files: set[int]
    """The oids of the partitions that it has read, and failed loads after it too."""
    time: datetime | None
    """Nothing that its snapshot misses has an older updated_at; None if that isn't known."""


class _Row(NamedTuple):
    """A row of the load log. One without a cursor has nothing behind `finished_at`."""

    started_at: datetime
    finished_at: datetime | None
    rows_since: str | None
    storage: str | None
    files: str | None
    updated_at_trigger: str | None
    snapshot_xmin: int
    snapshot_next_id: int
    snapshot_taken_at: datetime


class LoadLog:
    def __init__(self, destination: Destination, contract: dict[str, Table]) -> None:
        self._destination = destination
        self._rows: dict[Table, list[_Row]] = {}
        self._counts: dict[Table, Counts] = {}
        self._begun: set[Table] = set()
        self._changed: set[Table] = set()
        self._unsaved: list[tuple[object, ...]] = []
        self.finished: dict[Table, Load] = {}
        """The newest load of each table that this process has finished."""
        self.reconciliations = contract["loader.reconciliations"]
        for table in contract.values():
            if table.schema == "loader":
                destination.create(table)

    def next_start(self, now: datetime) -> datetime:
        """`now`, or a microsecond after the newest load: start times always increase, even if the clock doesn't."""
        ((last,),) = self._destination.query("SELECT MAX(started_at) FROM loader.loads")
        return max(now, last.replace(tzinfo=UTC) + timedelta(microseconds=1)) if last else now

    def read(self, tables: list[Table]) -> None:
        """Read what earlier loads of `tables` have left."""
        self._rows = self._read(tables)
        in_raw = [table for table in tables if {LOADED_AT, DELETED_AT} <= self._destination.columns(table)]
        self._counts = self._destination.counts({table: self._last_finished(table) for table in in_raw})

    def _read(self, tables: list[Table]) -> dict[Table, list[_Row]]:
        """The rows of each table, by time: since its last finished load, and since the one that `_known_time` needs.

        There are none of a table without a finished load.
        """
        names = {(table.schema, table.name): table for table in tables}
        found: dict[Table, list[_Row]] = {table: [] for table in tables}
        rows = self._destination.query(
            f"""
            WITH finished AS (
              SELECT source, table_name, MAX(started_at) AS started_at FROM loader.loads
              WHERE finished_at IS NOT NULL GROUP BY source, table_name
            ), previous AS (
              SELECT loads.source, loads.table_name, loads.started_at, loads.storage, loads.snapshot_xmin
              FROM loader.loads AS loads JOIN finished
                ON loads.source = finished.source AND loads.table_name = finished.table_name
                AND loads.started_at = finished.started_at
            ), since AS (
              SELECT previous.source, previous.table_name,
                LEAST(previous.started_at, COALESCE(MAX(loads.started_at), previous.started_at)) AS started_at
              FROM previous LEFT JOIN loader.loads AS loads
                ON loads.source = previous.source AND loads.table_name = previous.table_name
                AND loads.storage = previous.storage AND loads.snapshot_next_id <= previous.snapshot_xmin
              GROUP BY previous.source, previous.table_name, previous.started_at
            )
            SELECT loads.source, loads.table_name, {", ".join(f"loads.{column}" for column in _Row._fields)}
            FROM loader.loads AS loads JOIN since
              ON loads.source = since.source AND loads.table_name = since.table_name
              AND loads.started_at >= since.started_at
            ORDER BY loads.started_at
            """  # noqa: S608 - names of columns
        )
        for schema, name, *row in rows:
            if table := names.get((schema, name)):
                found[table].append(_Row(*row))
        return found

    def _last_finished(self, table: Table) -> datetime:
        """When the newest finished load of `table` started."""
        if table in self.finished:
            return self.finished[table].started_at
        started = (_utc(row.started_at) for row in self._rows[table] if row.finished_at)
        return max(started, default=datetime.min.replace(tzinfo=UTC))

    def counts(self, table: Table) -> Counts:
        """The rows of `table` in RAW: of all, and written since the last finished load."""
        if table not in self._counts:
            self._counts |= self._destination.counts({table: self._last_finished(table)})
        return self._counts[table]

    def before_change(self, table: Table) -> None:
        """Call it before `table` changes in RAW: its rows are counted again."""
        self._changed.add(table)
        self._counts.pop(table, None)

    def previous(self, table: Table, storage: Storage, snapshot: Snapshot) -> Previous | None:
        """The newest finished load of `table`; None if all rows have to be read.

        That applies to its first load, to the load after a failed one that had to read all rows, and if the ids of
        transactions can't be compared with those of then.
        """
        last = self._last_finished(table)
        rows = [row for row in self._rows[table] if _utc(row.started_at) >= last]
        if not rows or any(row.rows_since == str(Cursor()) for row in rows if not row.finished_at):
            return None
        finished = rows[0]
        xmin = finished.snapshot_xmin
        if finished.storage != storage.id or not finished.snapshot_next_id <= snapshot.next_id < xmin + COMPARABLE_IDS:
            return None
        # A failed load may have marked the rows of a partition that was detached meanwhile.
        read = {row.files for row in rows if row.files}
        is_same = read == {_text(storage.files)} and storage.trigger
        time = self._known_time(table, storage, xmin, snapshot.taken_at) if is_same else None
        return Previous(xmin, set.intersection(*(set(map(int, json.loads(files))) for files in read)), time)

    def _known_time(self, table: Table, storage: Storage, xmin: int, now: datetime) -> datetime | None:
        """A time before which nothing was written by transaction `xmin` or later ones.

        It is when the newest snapshot was taken before these transactions began. Since then, the trigger has to be the
        same, and the source's clock must not have gone back.
        """
        rows = [row for row in self._rows[table] if row.storage]
        known = [row for row in rows if row.storage == storage.id and row.snapshot_next_id <= xmin]
        if not known:
            return None
        since = [row for row in rows if row.started_at >= known[-1].started_at]
        is_known = all(
            row.updated_at_trigger == storage.trigger and _utc(row.snapshot_taken_at) <= now for row in since
        )
        return _utc(known[-1].snapshot_taken_at) if is_known else None

    def begin(self, loads: list[Load]) -> None:
        """Record loads before they change RAW."""
        self._insert(
            "source, table_name, started_at, rows_since, storage, files, updated_at_trigger, "
            "snapshot_xmin, snapshot_next_id, snapshot_taken_at, row_count, status",
            [
                (
                    load.table.schema,
                    load.table.name,
                    _naive(load.started_at),
                    str(load.cursor),
                    load.storage.id,
                    _text(load.storage.files),
                    load.storage.trigger,
                    load.snapshot.xmin,
                    load.snapshot.next_id,
                    _naive(load.snapshot.taken_at),
                    0,
                    "running",
                )
                for load in loads
            ],
        )
        self._begun.update(load.table for load in loads)

    def _insert(self, columns: str, rows: list[tuple[object, ...]]) -> None:
        if rows:
            placeholders, parameters = values(rows)
            self._destination.query(f"INSERT INTO loader.loads ({columns}) {placeholders}", *parameters)

    def close_killed(self) -> None:
        """Mark loads that were killed. Call it while this load has the lock: then no other one is running."""
        self._destination.query("UPDATE loader.loads SET status = 'killed' WHERE status = 'running'")

    def fail(self, tables: Iterable[Table], started_at: datetime, error: BaseException) -> None:
        """Record that loads were rejected or have failed, and the class of the error: its text may contain values.

        What a load that had begun has to read stays in its row. Finished loads stay finished.
        """
        # Errors of drivers are converted to messages.
        cause = error.__context__ if isinstance(error, click.ClickException) and error.__context__ else error
        outcome = ("rejected" if isinstance(error, TableError) else "failed", type(cause).__name__)
        self.save()
        tables, time = list(tables), _naive(started_at)
        self._insert(
            "status, error_class, source, table_name, started_at, row_count",
            [(*outcome, table.schema, table.name, time, 0) for table in tables if table not in self._begun],
        )
        begun = [table for table in tables if table in self._begun]
        self._begun.update(tables)
        # A table that hasn't changed needs no cursor. Otherwise the next load would read more than necessary.
        for changed, cursor in ((True, ""), (False, ", rows_since = NULL, storage = NULL, files = NULL")):
            if names := [str(table) for table in begun if (table in self._changed) == changed]:
                self._destination.query(
                    f"UPDATE loader.loads SET status = %s, error_class = %s{cursor} WHERE status = 'running' "  # noqa: S608
                    f"AND started_at = %s AND CONCAT(source, '.', table_name) IN ({', '.join(['%s'] * len(names))})",
                    *(*outcome, time, *names),
                )

    def finish(self, load: Load, rows: int, deletions: Deletions) -> Load:
        """The finished load, whose rows have been committed. `save` records it."""
        finished_at, table = datetime.now(UTC), load.table
        # Not only those of this load: one that has failed since the last finished one may have written rows too.
        written = self.counts(table).written
        self._unsaved.append((table.schema, table.name, _naive(load.started_at), _naive(finished_at), written))
        self.finished[table] = replace(load, rows=rows, deletions=deletions, finished_at=finished_at)
        return self.finished[table]

    def save(self) -> None:
        """Record the finished loads."""
        if self._unsaved:
            placeholders, parameters = values(self._unsaved)
            self._destination.query(
                "UPDATE loader.loads "  # noqa: S608 - placeholders
                "SET finished_at = done.finished_at, row_count = done.row_count, status = 'finished' "
                f"FROM ({placeholders}) AS done (source, table_name, started_at, finished_at, row_count) "
                "WHERE loads.source = done.source AND loads.table_name = done.table_name "
                "AND loads.started_at = CAST(done.started_at AS TIMESTAMP)",
                *parameters,
            )
        self._unsaved.clear()


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC)


def _text(files: dict[int, int]) -> str:
    return json.dumps({str(oid): file for oid, file in sorted(files.items())})


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)
