"""Keys affected by a load."""

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator
from sqlmesh.utils.date import to_datetime


@macro()
def is_affected(evaluator: MacroEvaluator, key: exp.Column) -> exp.Condition:
    """Whether the key of a row is in the CTE `affected`, in the column of the same name.

    Called as `WHERE @is_affected(lines.order_id)`, on rows with a `_loaded_at`. In the first interval of the history
    every key is affected, so the row's own `_loaded_at` is compared (docs/decisions/0003-affected-keys.md).
    """
    history_start = to_datetime(str(evaluator.var("history_start")))
    if evaluator.locals["start_dt"] > history_start:
        return key.isin(query=exp.select(key.name).from_("affected"))
    loaded_at = exp.column("_loaded_at", table=key.args.get("table"))
    since = exp.cast(exp.Literal.string(evaluator.locals["start_dtntz"]), exp.DType.TIMESTAMPNTZ)
    return exp.and_(key.is_(exp.null()).not_(), loaded_at >= since)
