"""Pivots with a fixed set of columns."""

import calendar

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def month_pivot(evaluator: MacroEvaluator, date: exp.Expr, noun: exp.Expr) -> list[exp.Expr]:
    """Twelve counts, `january_<noun>_count` to `december_<noun>_count`, and `total_<noun>_count`.

    The columns don't depend on the data: a month without rows is 0.
    Rows without a `date` count in no column, not even in the total.
    """
    entity = noun.name.lower()
    columns = []
    for number, month in enumerate(calendar.month_name[1:], start=1):
        is_month = exp.EQ(this=exp.Month(this=date.copy()), expression=exp.Literal.number(number))
        # Not COUNT_IF: on DuckDB that is NULL for a group without a single date.
        count = exp.Count(this=exp.If(this=is_month, true=exp.Literal.number(1)))
        columns.append(_described(count, f"{month.lower()}_{entity}_count", f"{entity.capitalize()}s in {month}"))
    total = exp.Count(this=date.copy())
    columns.append(_described(total, f"total_{entity}_count", f"{entity.capitalize()}s in the year"))
    return columns


@macro()
def bounds(evaluator: MacroEvaluator, numbers: exp.Expr | None = None, dates: exp.Expr | None = None) -> list[exp.Expr]:
    """`lowest_<column>` and `highest_<column>` of each given column, from the rows of a table in ref_bound.

    `numbers` and `dates` are one column, or several in parentheses: `@bounds(numbers := credits, dates := (start_date,
    end_date))`. A bound that isn't in the seed is NULL, and would accept every value: test_bounds.py compares the two.
    """
    pivoted = []
    for kind, argument in (("number", numbers), ("date", dates)):
        for column in argument.expressions or [argument.unnest()] if argument else []:
            is_column = exp.column("column_name").eq(column.name.lower())
            for end in ("lowest", "highest"):
                bound = exp.func("IFF", is_column, exp.column(f"{end}_{kind}"), exp.null(), dialect="snowflake")
                pivoted.append(exp.alias_(exp.Max(this=bound), f"{end}_{column.name.lower()}"))
    return pivoted


def _described(count: exp.Expr, name: str, description: str) -> exp.Expr:
    column = exp.alias_(exp.cast(count, "int"), name)
    column.comments = [description]
    return column
