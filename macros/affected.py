"""Rows that have been loaded since a model was last evaluated, and the keys that they affect."""

import datetime as dt

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator
from sqlmesh.utils.date import to_datetime


@macro()
def since(evaluator: MacroEvaluator) -> exp.Cast:
    """A time, TIMESTAMPNTZ: rows loaded at or after it may be new to this model.

    Called as `WHERE _loaded_at >= @since()`. It is the interval's start, or the time just after the newest `_loaded_at`
    in the model's own table if that is older. A table that was restored from a backup, or that lags behind its parents
    for another reason, then catches up (docs/decisions/0003-affected-keys.md).
    """
    return exp.cast(exp.Literal.string(f"{_since(evaluator):%Y-%m-%d %H:%M:%S.%f}"), exp.DType.TIMESTAMPNTZ)


@macro()
def is_affected(evaluator: MacroEvaluator, key: exp.Column) -> exp.Condition:
    """Whether the key of a row is in the CTE `affected`, in the column of the same name.

    Called as `WHERE @is_affected(lines.order_id)`. In a full refresh every key is affected, so none is looked up: that
    took 8 of the 60 seconds of a first build of ten million order lines. A row without a key is never affected.
    """
    if _since(evaluator) > _history_start(evaluator):
        return key.isin(query=exp.select(key.name).from_("affected"))
    return key.is_(exp.null()).not_()


@macro()
def is_incremental(evaluator: MacroEvaluator) -> exp.Boolean:
    """Whether the query computes affected keys only. Otherwise it is a full refresh, which replaces the table."""
    return exp.Boolean(this=_since(evaluator) > _history_start(evaluator))


def _since(evaluator: MacroEvaluator) -> dt.datetime:
    start: dt.datetime = evaluator.locals["start_dt"]
    if evaluator.locals["runtime_stage"] == "creating":
        return min(start, _history_start(evaluator))  # a new table gets all of its history
    if evaluator.locals["runtime_stage"] != "evaluating":
        return start
    if "since" not in evaluator.locals:
        newest = exp.select(exp.Max(this=exp.column("_loaded_at", quoted=False))).from_(evaluator.locals["this_model"])
        (loaded_at,) = evaluator.engine_adapter.fetchone(newest) or (None,)
        # A load writes a table in one transaction, so all rows with the newest _loaded_at have been processed. Without
        # the microsecond, the run after a first load would process all of its rows again.
        after = loaded_at.replace(tzinfo=dt.UTC) + dt.timedelta(microseconds=1) if loaded_at else None
        evaluator.locals["since"] = min(start, after or _history_start(evaluator))
    result: dt.datetime = evaluator.locals["since"]
    return result


def _history_start(evaluator: MacroEvaluator) -> dt.datetime:
    start: dt.datetime = to_datetime(str(evaluator.var("history_start")))
    return start
