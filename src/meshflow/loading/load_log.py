"""The load log, RAW.LOADER.LOADS: one row per table and attempt to load it. Loads keep no other state.

A row is written before the table in RAW changes, and completed after its rows have been committed. SQLMesh's signal
`source_loaded` reads completed rows to find intervals that can't change any more. The next load finds its cursor here.
An attempt that changed nothing, such as that of a rejected table, has a row without a cursor, which no load reads.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import click

from meshflow.loading.contract import LOADED_AT, Table
from meshflow.loading.deletions import Deletions
from meshflow.loading.destination import Destination
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


class LoadLog:
    def __init__(self, destination: Destination, contract: dict[str, Table]) -> None:
        self._destination = destination
        self._begun: set[Table] = set()
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

    def previous(self, table: Table, storage: Storage, snapshot: Snapshot) -> Previous | None:
        """The newest finished load of `table`; None if all rows have to be read.

        That applies to its first load, to the load after a failed one that had to read all rows, and if the ids of
        transactions can't be compared with those of then.
        """
        rows = self._destination.query(
            """
            SELECT finished_at, rows_since, storage, files, snapshot_xmin, snapshot_next_id
            FROM loader.loads
            WHERE source = %s AND table_name = %s AND started_at >= (
              SELECT MAX(started_at) FROM loader.loads
              WHERE source = %s AND table_name = %s AND finished_at IS NOT NULL
            )
            ORDER BY started_at DESC
            """,
            *(table.schema, table.name) * 2,
        )
        if not rows or any(rows_since == str(Cursor()) for finished_at, rows_since, *_ in rows if not finished_at):
            return None
        _, _, stored, _, xmin, next_id = rows[-1]
        if stored != storage.id or not next_id <= snapshot.next_id < xmin + COMPARABLE_IDS:
            return None
        # A failed load may have marked the rows of a partition that was detached meanwhile.
        read = {files for _, _, _, files, *_ in rows if files}
        is_same = read == {_text(storage.files)} and storage.trigger
        time = self._known_time(table, storage, xmin, snapshot.taken_at) if is_same else None
        return Previous(xmin, set.intersection(*(set(map(int, json.loads(files))) for files in read)), time)

    def _known_time(self, table: Table, storage: Storage, xmin: int, now: datetime) -> datetime | None:
        """A time before which nothing was written by transaction `xmin` or later ones.

        It is when the newest snapshot was taken before these transactions began. Since then, the trigger has to be the
        same, and the source's clock must not have gone back.
        """
        rows = self._destination.query(
            """
            SELECT started_at, snapshot_taken_at FROM loader.loads
            WHERE source = %s AND table_name = %s AND storage = %s AND snapshot_next_id <= %s
            ORDER BY started_at DESC LIMIT 1
            """,
            *(table.schema, table.name, storage.id, xmin),
        )
        if not rows:
            return None
        started_at, known = rows[0]
        ((newest, others),) = self._destination.query(
            """
            SELECT MAX(snapshot_taken_at), SUM(CASE WHEN updated_at_trigger = %s THEN 0 ELSE 1 END) FROM loader.loads
            WHERE source = %s AND table_name = %s AND started_at >= %s AND storage IS NOT NULL
            """,
            *(storage.trigger, table.schema, table.name, started_at),
        )
        return known.replace(tzinfo=UTC) if not others and newest.replace(tzinfo=UTC) <= now else None

    def begin(self, load: Load) -> None:
        """Record a load before it touches the table in RAW."""
        self._destination.query(
            "INSERT INTO loader.loads (source, table_name, started_at, rows_since, storage, files, updated_at_trigger, "
            "snapshot_xmin, snapshot_next_id, snapshot_taken_at, row_count, status) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0, 'running')",
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
        )
        self._begun.add(load.table)

    def close_killed(self) -> None:
        """Mark loads that were killed. Call it while this load has the lock: then no other one is running."""
        self._destination.query("UPDATE loader.loads SET status = 'killed' WHERE status = 'running'")

    def fail(self, tables: Iterable[Table], started_at: datetime, error: BaseException) -> None:
        """Record that loads were rejected or have failed, and the class of the error: its text may contain values.

        What a load that had begun has to read stays in its row.
        """
        # Errors of drivers are converted to messages.
        cause = error.__context__ if isinstance(error, click.ClickException) and error.__context__ else error
        outcome = ("rejected" if isinstance(error, TableError) else "failed", type(cause).__name__)
        for table in tables:
            if table in self._begun:
                statement = (
                    "UPDATE loader.loads SET status = %s, error_class = %s "
                    "WHERE source = %s AND table_name = %s AND started_at = %s"
                )
            else:
                statement = (
                    "INSERT INTO loader.loads (status, error_class, source, table_name, started_at, row_count) "
                    "VALUES (%s, %s, %s, %s, %s, 0)"
                )
            self._destination.query(statement, *outcome, table.schema, table.name, _naive(started_at))

    def finish(self, load: Load, rows: int, deletions: Deletions) -> Load:
        """Record that the load's rows have been committed. Returns the finished load."""
        finished_at, names = datetime.now(UTC), (load.table.schema, load.table.name)
        raw = self._destination.quoted(*names)
        # Not only those of this load: one that has failed since the last finished one may have written rows too.
        ((row_count,),) = self._destination.query(
            f"""
            SELECT COUNT(*) FROM {raw} WHERE {LOADED_AT} > COALESCE((
              SELECT MAX(started_at) FROM loader.loads
              WHERE source = %s AND table_name = %s AND finished_at IS NOT NULL
            ), CAST('0001-01-01' AS TIMESTAMP))
            """,  # noqa: S608 - names from the contract
            *names,
        )
        self._destination.query(
            "UPDATE loader.loads SET finished_at = %s, row_count = %s, status = 'finished' "
            "WHERE source = %s AND table_name = %s AND started_at = %s",
            *(_naive(finished_at), row_count, *names, _naive(load.started_at)),
        )
        self.finished[load.table] = replace(load, rows=rows, deletions=deletions, finished_at=finished_at)
        return self.finished[load.table]


def _text(files: dict[int, int]) -> str:
    return json.dumps({str(oid): file for oid, file in sorted(files.items())})


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)
