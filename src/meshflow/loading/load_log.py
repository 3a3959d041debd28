"""RAW.LOADER.LOADS: every finished load of every table, the only memory that loads have.

A row is written once its table's rows are committed. SQLMesh's signal `source_loaded` reads it to know which intervals can't
change any more; the next load reads it to know where to go on.
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
    """The rows written since then were read; None: all."""
    watermark: datetime | None
    """From where the next load has to read; None: from the beginning."""
    rows: int


class LoadLog:
    def __init__(self, destination: Destination, contract: dict[str, Table]) -> None:
        self._destination = destination
        self.reconciliations = contract["loader.reconciliations"]
        for table in contract.values():
            if table.schema == "loader":
                destination.create(table)

    def next_start(self, now: datetime) -> datetime:
        """`now`, or a microsecond after the newest load: starts never run backwards, whatever clocks do."""
        ((last,),) = self._destination.query("SELECT MAX(started_at) FROM loader.loads")
        return max(now, last.replace(tzinfo=UTC) + timedelta(microseconds=1)) if last else now

    def cursor_start(self, table: Table) -> datetime | None:
        """Where the newest load of `table` left off; None if the whole table has to be read.

        That is so for its first load, and after a column has come into the contract, whose past values are missing.
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
            "INSERT INTO loader.loads (source, table_name, started_at, finished_at, cursor_start, watermark, row_count) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            load.table.schema,
            load.table.name,
            *(time and time.replace(tzinfo=None) for time in times),
            load.rows,
        )
