"""The load log, RAW.LOADER.LOADS: one row per table and finished load. Loads keep no other state.

A row is written after the commit of the table's rows. SQLMesh's signal `source_loaded` reads it to find intervals that
can't change any more. The next load reads its watermark.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from meshflow.loading.contract import Table
from meshflow.loading.destination import Destination


@dataclass(frozen=True)
class Load:
    """A finished load of one table. Times are UTC."""

    table: Table
    started_at: datetime
    finished_at: datetime
    cursor_start: datetime | None
    """Rows written at or after this time were read; None: all rows."""
    watermark: datetime | None
    """Where the next load starts; None: all rows."""
    rows: int


class LoadLog:
    def __init__(self, destination: Destination, contract: dict[str, Table]) -> None:
        self._destination = destination
        self.reconciliations = contract["loader.reconciliations"]
        for table in contract.values():
            if table.schema == "loader":
                destination.create(table)

    def next_start(self, now: datetime) -> datetime:
        """`now`, or a microsecond after the newest load: start times always increase, even if the clock doesn't."""
        ((last,),) = self._destination.query("SELECT MAX(started_at) FROM loader.loads")
        return max(now, last.replace(tzinfo=UTC) + timedelta(microseconds=1)) if last else now

    def cursor_start(self, table: Table) -> datetime | None:
        """The watermark of the newest load of `table`; None if all rows have to be read.

        That applies to its first load, and after a column was added to the contract: its past values are missing.
        """
        if not set(table.arrow.names) <= self._destination.columns(table):
            return None
        rows = self._destination.query(
            "SELECT watermark FROM loader.loads WHERE source = %s AND table_name = %s ORDER BY started_at DESC LIMIT 1",
            table.schema,
            table.name,
        )
        return rows[0][0].replace(tzinfo=UTC) if rows and rows[0][0] else None

    def record(self, load: Load) -> None:
        times = (load.started_at, load.finished_at, load.cursor_start, load.watermark)
        self._destination.query(
            "INSERT INTO loader.loads "
            "(source, table_name, started_at, finished_at, cursor_start, watermark, row_count) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            load.table.schema,
            load.table.name,
            *(time and time.replace(tzinfo=None) for time in times),
            load.rows,
        )
