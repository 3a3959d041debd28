"""DuckDB's optimizer of `ROW_NUMBER() … = 1` over joins: version 1.5.6 can end such a query in an INTERNAL error."""

from datetime import UTC, datetime, timedelta

import duckdb
from sqlmesh.core.context import Context
from sqlmesh.core.macros import RuntimeStage

MODEL = "intermediate.int_retail__customers_derived"
"""Ranks the lines of each customer's newest order, which two joins find."""
PARENT = "intermediate.int_retail__sales_validated"
LINES = 10_000_000


def test_the_newest_order_of_every_customer_is_found_among_ten_million_lines(warehouse: Context) -> None:
    start = datetime(2026, 10, 25, tzinfo=UTC)
    hour = {"start": start, "end": start + timedelta(hours=1), "execution_time": start + timedelta(hours=1)}
    model = warehouse.get_model(MODEL, raise_if_missing=True)
    query = model.render_query_or_raise(**hour, since=start, runtime_stage=RuntimeStage.EVALUATING).sql("duckdb")
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS ANALYTICS")
        connection.execute("CREATE SCHEMA ANALYTICS.INTERMEDIATE")
        for name in (MODEL, PARENT):
            types = warehouse.get_model(name, raise_if_missing=True).columns_to_types_or_raise
            columns = ", ".join(f"{column} {type_.sql('duckdb')}" for column, type_ in types.items())
            connection.execute(f"CREATE TABLE ANALYTICS.{name} ({columns})")
        connection.execute(
            f"""
            INSERT INTO ANALYTICS.{PARENT} BY NAME SELECT
              i // 2 AS order_id, i % 2 AS product_id, i // 20 AS customer_id, true AS is_valid,
              TIMESTAMP '2026-01-01' + to_seconds(i // 2) AS ordered_at, ordered_at::DATE AS order_date,
              TIMESTAMP '2026-10-25' AS _loaded_at
            FROM range({LINES}) AS lines (i)
            """
        )
        customers, newest = connection.execute(
            f"SELECT COUNT(*), COUNT_IF(newest_order_id = customer_id * 10 + 9) FROM ({query})"
        ).fetchone() or (0, 0)
    assert customers == newest == LINES // 20
