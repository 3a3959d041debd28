"""Dates: the as-of date, and values derived from it."""

import datetime as dt

from sqlglot import exp
from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator
from sqlmesh.utils.errors import ConfigError


@macro()
def as_of_date(evaluator: MacroEvaluator) -> exp.Expression:
    """The date that ages, statuses and "days since" are relative to.

    It is the variable `as_of_date` where that is set (sample data, a report for a past date), otherwise the current
    date in UTC. Only views may call it: they are right whenever they are read, even if nothing has run since midnight.
    """
    as_of = evaluator.var("as_of_date")
    if as_of is None:
        return exp.cast(exp.CurrentTimestamp(sysdate=True), "date")
    try:
        dt.date.fromisoformat(str(as_of))
    except ValueError as error:
        raise ConfigError(f"config.yaml, variable as_of_date: '{as_of}' is not a date like 2026-11-01") from error
    return exp.cast(exp.Literal.string(str(as_of)), "date")


@macro()
def completed_years(evaluator: MacroEvaluator, since: SQL, until: SQL) -> str:
    """Completed years from `since` to `until`, both DATE: a year is completed on its anniversary.

    In common years 29 February has its anniversary on 1 March. Month and day are compared as one number, because
    SQLMesh drops the parentheses of FLOOR(MONTHS_BETWEEN(a, b) / 12) when it renders for DuckDB.
    """
    return (
        f"(YEAR({until}) - YEAR({since}) - IFF("
        f"MONTH({until}) * 100 + DAY({until}) < MONTH({since}) * 100 + DAY({since}), 1, 0))"
    )


@macro()
def course_status(evaluator: MacroEvaluator, start_date: SQL, end_date: SQL, as_of: SQL) -> str:
    """'Yet to Start', 'Ongoing' or 'Ended'; on its first and its last day a course is 'Ongoing'."""
    return (
        f"CASE WHEN {as_of} < {start_date} THEN 'Yet to Start' "
        f"WHEN {as_of} <= {end_date} THEN 'Ongoing' ELSE 'Ended' END"
    )
