"""When an interval may be processed."""

from sqlmesh import DatetimeRanges, ExecutionContext, signal
from sqlmesh.utils.date import to_datetime


@signal()
def source_loaded(batch: DatetimeRanges, source: str, gateway: str, context: ExecutionContext) -> bool | DatetimeRanges:
    """Intervals at whose end, or later, a finished load of every table of `source` ('edtech' or 'retail') started.

    A load stamps its rows with its start time and is in the load log, RAW.LOADER.LOADS, only once it has
    committed. So after a later load has finished, no row can still arrive inside the interval.
    A table that lags behind holds its source back: its rows are validated by those of the others.
    Sample data (gateway `local`) doesn't move: always ready.
    """
    if gateway == "local":
        return True
    row = context.engine_adapter.fetchone(
        "SELECT MIN(started_at) FROM (SELECT MAX(started_at) AS started_at FROM RAW.LOADER.LOADS "
        f"WHERE source = '{source}' GROUP BY table_name) AS newest"
    )
    if not row or row[0] is None:
        return False
    complete_until = to_datetime(row[0])
    if batch[-1][1] <= complete_until:
        # Named one by one, SQLMesh would look each up among all: 0.8 s for four weeks of five minutes, and 16 times as
        # long for four times as many.
        return True
    return [(start, end) for start, end in batch if end <= complete_until]
