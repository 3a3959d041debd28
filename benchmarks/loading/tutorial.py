"""dlt as in its tutorial: rows as Python dicts, a page at a time, without declared types."""

import os
from collections.abc import Iterator
from contextlib import closing

import dlt
from psycopg.rows import dict_row

from meshflow.loading.contract import contract
from meshflow.postgres import connect

PAGE = 50_000
"""Rows in memory at a time, as in dlt's own source sql_database."""


def load(data: str) -> int:
    """Load all rows into a new table; returns the rows read. dlt infers the types and adds two columns."""
    rows = 0

    @dlt.resource(name="sales", write_disposition="replace")
    def sales() -> Iterator[list[dict[str, object]]]:
        nonlocal rows
        columns = ", ".join(column.name for column in contract()["retail.sales"].source_columns)
        with (
            closing(connect(os.environ["MESHFLOW_LOADER_URL"])) as connection,
            connection.cursor(name="sales", row_factory=dict_row) as cursor,
        ):
            cursor.execute(f"SELECT {columns} FROM retail.sales".encode())
            while page := cursor.fetchmany(PAGE):
                rows += len(page)
                yield page

    dlt.config["runtime.dlthub_telemetry"] = False
    pipeline = dlt.pipeline(
        "tutorial",
        destination=dlt.destinations.duckdb(f"{data}/live_raw.duckdb"),
        dataset_name="retail",
        pipelines_dir=f"{data}/dlt",
    )
    pipeline.run(sales())
    return rows
