"""Example queries, printed with their results."""

from numbers import Number

import click
from rich.console import Console
from rich.syntax import Syntax
from sqlglot import exp, parse_one

from meshflow.project import open_project
from meshflow.terminal import grid, show

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


def examples(environment: str) -> None:
    """Print each query as written for `environment`, and its result.

    Raises click.ClickException where the environment has not been built.
    """
    context = open_project(load=False)
    built = context.state_reader.get_environment(environment)
    if built is None:
        known = sorted(known.name for known in context.state_reader.get_environments())
        raise click.ClickException(
            f"There is no environment '{environment}'. Build it with `sqlmesh plan {environment}`, "
            f"or choose from: {', '.join(known) or 'none yet'}."
        )
    tables = {f"{table.db}.{table.name}".lower() for table in (exp.to_table(model.name) for model in built.snapshots)}
    console = Console()
    for question, query in QUESTIONS.items():
        read = parse_one(query, dialect="snowflake").find_all(exp.Table)
        if not {f"{table.db}.{table.name}" for table in read} <= tables:
            continue
        tree = in_environment(query, environment)
        console.print(f"\n[bold]{question}[/bold]")
        console.print(Syntax(tree.sql(dialect="snowflake", pretty=True), "sql", background_color="default"))
        context.engine_adapter.execute(tree)
        cursor = context.engine_adapter.cursor
        columns, rows = [column[0].lower() for column in cursor.description], cursor.fetchall()
        first = rows[0] if rows else ()
        numbers = {name for name, value in zip(columns, first, strict=False) if isinstance(value, Number)}
        table = grid(*columns, right=numbers)
        for row in rows:
            table.add_row(*map(str, row))
        show(table)


def in_environment(query: str, environment: str) -> exp.Expr:
    """`query`, which is written for prod, on the views of `environment`: `retail` becomes `retail__dev`."""
    tree = parse_one(query, dialect="snowflake")
    if environment != "prod":
        for table in tree.find_all(exp.Table):
            table.set("db", exp.to_identifier(f"{table.db}__{environment}"))
    return tree
