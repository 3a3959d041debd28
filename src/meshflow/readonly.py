"""SQL that people write: one SELECT in Snowflake's dialect on the served tables, checked on its syntax tree.

Each node of the tree must be of a kind listed here, so statements, functions and table functions that nobody thought of
are rejected. A table is read through a subquery of its served columns. The engine is the second barrier: DuckDB reads a
snapshot without access to files and network (meshflow.serve), Snowflake logs in as the role of the dashboards.
"""

import click
from sqlglot import ErrorLevel, exp, parse
from sqlglot.errors import SqlglotError

from meshflow.publish import SERVED
from meshflow.serve import Query

ROW_LIMIT = 10_000
"""Rows of a result. One more is read, to know that there are others."""
LONGEST = 4000
"""Characters: the SQL is part of the page's URL."""

ALLOWED_NODES = frozenset({
    exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.With, exp.CTE, exp.From, exp.Join,
    exp.Where, exp.Group, exp.Having, exp.Qualify, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Distinct,
    exp.Window, exp.WindowSpec, exp.WithinGroup, exp.Filter, exp.Rollup, exp.Cube, exp.GroupingSets, exp.Table,
    exp.TableAlias, exp.Column, exp.Identifier, exp.Star, exp.Alias, exp.Literal, exp.Boolean, exp.Null,
    exp.Paren, exp.Tuple, exp.Case, exp.If, exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam,
    exp.Interval, exp.Var, exp.Between, exp.In, exp.Exists, exp.And, exp.Or, exp.Xor, exp.Not, exp.Is, exp.Like,
    exp.ILike, exp.Escape, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe,
})  # fmt: skip
ALLOWED_FUNCTIONS = frozenset({
    exp.Abs, exp.Ceil, exp.Floor, exp.Round, exp.Sign, exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log,
    exp.Greatest, exp.Least, exp.Coalesce, exp.Nullif, exp.Nvl2, exp.Count, exp.CountIf, exp.Sum, exp.Avg,
    exp.Min, exp.Max, exp.Median, exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop,
    exp.Corr, exp.AnyValue, exp.ApproxDistinct, exp.ArgMax, exp.ArgMin, exp.PercentileCont, exp.PercentileDisc,
    exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag, exp.Lead,
    exp.FirstValue, exp.LastValue, exp.NthValue, exp.Upper, exp.Lower, exp.Initcap, exp.Trim, exp.Length,
    exp.Left, exp.Right, exp.Substring, exp.Replace, exp.Concat, exp.ConcatWs, exp.Contains, exp.StartsWith,
    exp.EndsWith, exp.StrPosition, exp.GroupConcat, exp.TimestampTrunc, exp.DateTrunc, exp.DateAdd, exp.DateSub,
    exp.DateDiff, exp.TimestampAdd, exp.TimestampDiff, exp.TsOrDsToDate, exp.TsOrDsAdd, exp.TsOrDsDiff,
    exp.Extract, exp.Year, exp.Quarter, exp.Month, exp.Week, exp.WeekOfYear, exp.Day, exp.DayOfWeek,
    exp.DayOfWeekIso, exp.DayOfMonth, exp.DayOfYear, exp.Dayname, exp.Monthname, exp.LastDay, exp.CurrentDate,
    exp.CurrentTimestamp, exp.ToChar, exp.Date,
})  # fmt: skip
"""Functions that compute a value from values. None reads a file, a setting, the network or another table."""


def check(sql: str) -> Query:
    """The query to run, which returns at most ROW_LIMIT + 1 rows.

    Raises click.ClickException with what isn't allowed.
    """
    if len(sql) > LONGEST:
        raise click.ClickException(f"The SQL has {len(sql):,} characters, more than {LONGEST:,}.")
    try:
        statements = [one for one in parse(sql, dialect="snowflake", error_level=ErrorLevel.RAISE) if one]
    except (SqlglotError, RecursionError) as error:
        raise click.ClickException(f"The SQL can't be parsed: {str(error).splitlines()[0]}") from None
    tree = statements[0] if len(statements) == 1 else None
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise click.ClickException("Write a single SELECT. It may begin with WITH.")
    for node in tree.walk():
        if type(node) not in ALLOWED_NODES | ALLOWED_FUNCTIONS:
            raise click.ClickException(f"Not allowed here: {_describe(node)}. See the functions below.")
    ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        _read_served_columns(table, ctes)
    limit = tree.args.get("limit")
    number = limit.expression if limit else None
    if not (isinstance(number, exp.Literal) and number.is_int and int(number.this) <= ROW_LIMIT):
        tree = tree.limit(ROW_LIMIT + 1)
    return Query(tree.sql(dialect="snowflake", comments=False))


def _read_served_columns(table: exp.Table, ctes: set[str]) -> None:
    """Replace a served table by a subquery of its served columns. A name without a schema must be that of a CTE."""
    used = {key for key, value in table.args.items() if value}
    if not isinstance(table.this, exp.Identifier) or not used <= {"this", "db", "alias", "joins"}:
        raise click.ClickException(f"Not allowed here: {_describe(table)}. Read tables by name.")
    if not table.db and table.name.lower() in ctes:
        return
    name = f"{table.db}.{table.name}".lower()
    if name not in SERVED:
        raise click.ClickException(f"There is no table {table.sql(dialect='snowflake')}. The tables are listed below.")
    schema, _, short = name.partition(".")
    select = exp.select(*(exp.column(column) for column in SERVED[name])).from_(exp.table_(short, db=schema))
    subquery = select.subquery(table.alias or short)
    if joins := table.args.get("joins"):
        subquery.set("joins", joins)
    table.replace(subquery)


def _describe(node: exp.Expr) -> str:
    text = node.sql(dialect="snowflake", comments=False)
    return f"`{text[:60]}{'…' if len(text) > 60 else ''}`"  # noqa: PLR2004 - what fits on a line
