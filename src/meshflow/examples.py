"""Example queries, printed with their results."""

from dataclasses import dataclass
from numbers import Number
from typing import Any

import click
from rich.console import Console
from rich.syntax import Syntax
from sqlglot import exp, parse_one
from sqlmesh.core.context import Context
from sqlmesh.core.environment import Environment

from meshflow.error_lines import describe
from meshflow.names import table_name
from meshflow.project import find_environment, open_project
from meshflow.terminal import echo_json, grid, show

QUESTIONS = {
    "Which regions bring the most net revenue?": """
        SELECT l.country, l.region, COUNT(DISTINCT s.order_id) AS orders, SUM(s.net_revenue_amount) AS net_revenue_usd
        FROM retail.fct_sales AS s
        INNER JOIN shared.dim_location AS l ON l.location_id = s.location_id
        GROUP BY l.country, l.region
        ORDER BY net_revenue_usd DESC
        LIMIT 5
    """,
    "Which courses are ongoing or start soon, and how many enrollments do they have?": """
        SELECT c.course_name, c.course_status, c.days_until_start, COUNT(e.enrollment_id) AS enrollments
        FROM edtech.dim_course AS c
        LEFT JOIN edtech.fct_enrollment AS e ON e.course_id = c.course_id
        WHERE c.course_status <> 'Ended'
        GROUP BY ALL
        ORDER BY c.days_until_start, enrollments DESC
    """,
    "Why were rows rejected, and what is the remedy?": """
        SELECT reject_reason, SUM(rejected_count) AS rejected, remedy
        FROM ops.rejected_rows
        GROUP BY ALL
        ORDER BY rejected DESC, reject_reason
        LIMIT 6
    """,
    "How many rows of each table are loaded, and how new are they?": """
        SELECT source_table, row_count, active_row_count, last_loaded_at
        FROM ops.table_freshness
        ORDER BY source_table
    """,
}
"""An environment may lack the tables of some: the first two are those of the demo."""


@dataclass(frozen=True)
class Answer:
    """A question with its query, in the environment that it reads, and the result."""

    question: str
    query: exp.Expr
    columns: list[str]
    rows: list[tuple[Any, ...]]


def examples(environment: str, *, as_json: bool = False) -> None:
    """Print each query as written for `environment`, and its result.

    Raises click.ClickException where the environment has not been built, or has none of the tables.
    """
    context = open_project(load=False)
    found = answers(context, find_environment(context, environment))
    if as_json:
        queries = [
            {
                "question": one.question,
                "query": one.query.sql(dialect="snowflake"),
                "columns": one.columns,
                "rows": one.rows,
            }
            for one in found
        ]
        echo_json({"queries": queries})
        return
    console = Console()
    for one in found:
        console.print(f"\n[bold]{one.question}[/bold]", soft_wrap=True)
        sql = one.query.sql(dialect="snowflake", pretty=True)
        if console.is_terminal:
            console.print(Syntax(sql, "sql", background_color="default", word_wrap=True))
        else:
            click.echo(sql)
        first = one.rows[0] if one.rows else ()
        numbers = {name for name, value in zip(one.columns, first, strict=False) if isinstance(value, Number)}
        table = grid(*one.columns, right=numbers)
        for row in one.rows:
            table.add_row(*map(str, row))
        show(table)


def answers(context: Context, built: Environment) -> list[Answer]:
    """The results of the queries whose tables are in the environment.

    Raises click.ClickException if there is none, or if the warehouse lacks its views.
    """
    tables = {table_name(model.name) for model in built.snapshots}
    found = []
    for question, query in QUESTIONS.items():
        read = parse_one(query, dialect="snowflake").find_all(exp.Table)
        if {f"{table.db}.{table.name}" for table in read} <= tables:
            tree = in_environment(query, built.name)
            try:
                context.engine_adapter.execute(tree)
            except Exception as error:
                raise click.ClickException(
                    f"Environment {built.name} can't be queried: {describe(error)}. If views are missing, "
                    f"`sqlmesh plan {built.name}` creates them"
                ) from error
            cursor = context.engine_adapter.cursor
            found.append(
                Answer(question, tree, [column[0].lower() for column in cursor.description], cursor.fetchall())
            )
    if not found:
        raise click.ClickException(
            f"Environment {built.name} lacks tables of every query: `sqlmesh plan {built.name}` adds them"
        )
    return found


def in_environment(query: str, environment: str) -> exp.Expr:
    """`query`, which is written for prod, on the views of `environment`: `retail` becomes `retail__dev`."""
    tree = parse_one(query, dialect="snowflake")
    if environment != "prod":
        for table in tree.find_all(exp.Table):
            table.set("db", exp.to_identifier(f"{table.db}__{environment}"))
    return tree
