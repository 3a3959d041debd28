"""When an interval may be processed."""

from sqlmesh import DatetimeRanges, ExecutionContext, signal
from sqlmesh.utils.date import to_datetime


@signal()
def landed(batch: DatetimeRanges, source: str, gateway: str, context: ExecutionContext) -> bool | DatetimeRanges:
    """Intervals that end before a finished load of `source` ('edtech' or 'retail') started.

    A load stamps its rows with its start time and is in the ledger, RAW.LANDING.LOADS, only once it has
    committed. So after a later load has finished, no row can still arrive inside the interval.
    Sample data (gateway `local`) doesn't move: always ready.
    """
    if gateway == "local":
        return True
    row = context.engine_adapter.fetchone(f"SELECT MAX(started_at) FROM RAW.LANDING.LOADS WHERE source = '{source}'")
    if not row or row[0] is None:
        return False
    complete_until = to_datetime(row[0])
    return [(start, end) for start, end in batch if end <= complete_until]
