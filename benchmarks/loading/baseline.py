"""The baseline: the work that no loader avoids. PostgreSQL writes CSV, DuckDB reads it; nothing is checked."""

import os
from contextlib import closing
from pathlib import Path

import duckdb

from meshflow.loading.contract import Table, contract
from meshflow.postgres import connect

LOADED_AT = "TIMESTAMP '2026-11-01' AS _loaded_at"


def load(data: str) -> int:
    """Load all rows into a new table; returns the rows read."""
    sales = contract()["retail.sales"]
    csv = _export(sales, "", data)
    with duckdb.connect(f"{data}/live_raw.duckdb") as warehouse:
        warehouse.execute("CREATE SCHEMA retail")
        return _count(warehouse.execute(f"CREATE TABLE retail.sales AS SELECT *, {LOADED_AT} FROM {_csv(sales, csv)}"))


def merge(data: str) -> int:
    """Merge rows of the last 50 minutes (see source.fill) into the existing table, by key; returns the rows read."""
    sales = contract()["retail.sales"]
    csv = _export(sales, "WHERE updated_at > now() - INTERVAL '50 minutes'", data)
    with duckdb.connect(f"{data}/live_raw.duckdb") as warehouse:
        return _count(
            warehouse.execute(
                f"MERGE INTO retail.sales USING (SELECT *, {LOADED_AT} FROM {_csv(sales, csv)}) USING "
                f"({', '.join(sales.key)}) WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT"
            )
        )


def _export(table: Table, where: str, data: str) -> Path:
    columns = ", ".join(column.name for column in table.source_columns)
    csv = Path(data) / "sales.csv"
    statement = f"COPY (SELECT {columns} FROM {table} {where}) TO STDOUT (FORMAT csv)"
    with (
        closing(connect(os.environ["MESHFLOW_LOADER_URL"])) as connection,
        connection.cursor().copy(statement.encode()) as rows,
        csv.open("wb") as file,
    ):
        file.writelines(rows)
    return csv


def _csv(table: Table, csv: Path) -> str:
    types = ", ".join(f"'{column.name}': '{column.type.sql('duckdb')}'" for column in table.source_columns)
    return f"read_csv('{csv}', header = false, columns = {{{types}}})"


def _count(result: duckdb.DuckDBPyConnection) -> int:
    [(rows,)] = result.fetchall()
    return int(rows)
