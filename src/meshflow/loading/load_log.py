"""The load log, RAW.LOADER.LOADS: one row per table and load, also of those that failed. Loads keep no other state.

A row is written before the table in RAW is touched, and completed after its rows have been committed. SQLMesh's signal
`source_loaded` reads completed rows to find intervals that can't change any more. The next load finds its cursor here.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from meshflow.loading.contract import Table
from meshflow.loading.deletions import Deletions
from meshflow.loading.destination import Destination
from meshflow.loading.reader import COMPARABLE_IDS, Cursor, Snapshot


@dataclass(frozen=True)
class Load:
    """A load of one table. Times are UTC."""

    table: Table
    started_at: datetime
    cursor: Cursor
    storage: str
    """The database and the files that contained the rows: an id of a transaction is meaningless elsewhere."""
    snapshot: Snapshot
    rows: int = 0
    """New and changed rows."""
    deletions: Deletions = field(default_factory=Deletions)
    finished_at: datetime | None = None


class LoadLog:
    def __init__(self, destination: Destination, contract: dict[str, Table]) -> None:
        self._destination = destination
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

    def previous(self, table: Table, storage: str, snapshot: Snapshot) -> Snapshot | None:
        """The snapshot of the newest load of `table`; None if all rows have to be read.

        That applies to its first load, to the load after a failed one that had to read all rows, and if the ids of
        transactions can't be compared with those of then.
        """
        rows = self._destination.query(
            "SELECT rows_since, finished_at, storage, snapshot_xmin, snapshot_xmax, snapshot_taken_at "
            "FROM loader.loads WHERE source = %s AND table_name = %s ORDER BY started_at DESC",
            table.schema,
            table.name,
        )
        for rows_since, finished_at, stored, xmin, xmax, taken_at in rows:
            if finished_at:
                is_comparable = stored == storage and xmax <= snapshot.xmax < xmin + COMPARABLE_IDS
                return Snapshot(snapshot.source, xmin, xmax, taken_at.replace(tzinfo=UTC)) if is_comparable else None
            if rows_since == str(Cursor()):
                return None
        return None

    def known_time(self, table: Table, storage: str, previous: Snapshot, snapshot: Snapshot) -> datetime | None:
        """A time before which nothing was written of what `previous` misses; None if the source's clock went back.

        It is when the newest snapshot was taken whose open transactions had all ended in `previous`: what that one
        misses was written by transactions that began later.
        """
        ((known, newest),) = self._destination.query(
            "SELECT MAX(CASE WHEN snapshot_xmax <= %s THEN snapshot_taken_at END), MAX(snapshot_taken_at) "
            "FROM loader.loads WHERE source = %s AND table_name = %s AND storage = %s",
            previous.xmin,
            table.schema,
            table.name,
            storage,
        )
        went_back = newest.replace(tzinfo=UTC) > snapshot.taken_at
        return known.replace(tzinfo=UTC) if known and not went_back else None

    def begin(self, load: Load) -> None:
        """Record a load before it touches the table in RAW."""
        self._destination.query(
            "INSERT INTO loader.loads (source, table_name, started_at, rows_since, storage, "
            "snapshot_xmin, snapshot_xmax, snapshot_taken_at, row_count) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 0)",
            load.table.schema,
            load.table.name,
            _naive(load.started_at),
            str(load.cursor),
            load.storage,
            load.snapshot.xmin,
            load.snapshot.xmax,
            _naive(load.snapshot.taken_at),
        )

    def finish(self, load: Load, rows: int, deletions: Deletions) -> Load:
        """Record that the load's rows have been committed. Returns the finished load."""
        finished_at = datetime.now(UTC)
        self._destination.query(
            "UPDATE loader.loads SET finished_at = %s, row_count = %s "
            "WHERE source = %s AND table_name = %s AND started_at = %s",
            _naive(finished_at),
            rows + deletions.marked,
            load.table.schema,
            load.table.name,
            _naive(load.started_at),
        )
        self.finished[load.table] = replace(load, rows=rows, deletions=deletions, finished_at=finished_at)
        return self.finished[load.table]


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)
