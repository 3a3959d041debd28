"""What a load affected."""

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator
from sqlmesh.utils.date import to_datetime


@macro()
def is_affected(evaluator: MacroEvaluator, key: exp.Column) -> exp.Condition:
    """Whether the row's key is one of those in the CTE `affected`, which names its column as here.

    Called as `WHERE @is_affected(lines.order_id)`, on rows that have a `_loaded_at`. In an interval that begins with
    the history every key has loaded since, and the row says so itself (docs/decisions/0003-affected-keys.md).
    """
    first = to_datetime(str(evaluator.var("history_start")))
    if evaluator.locals["start_dt"] > first:
        return key.isin(query=exp.select(key.name).from_("affected"))
    loaded_at = exp.column("_loaded_at", table=key.args.get("table"))
    since = exp.cast(exp.Literal.string(evaluator.locals["start_dtntz"]), exp.DType.TIMESTAMPNTZ)
    return exp.and_(key.is_(exp.null()).not_(), loaded_at >= since)
