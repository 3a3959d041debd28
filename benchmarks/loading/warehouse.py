"""Checksums of the loaded rows."""

import click
import duckdb

from meshflow.loading.contract import contract


def checksum(data: str) -> int:
    """Checksum of retail.sales without the loader's columns: equal for equal rows in equal types, in any order."""
    return _loaded(data, "SELECT COLUMNS(name -> name NOT IN ('_deleted_at', '_loaded_at')) FROM retail.sales")


def values(data: str) -> int:
    """Checksum of the rows cast to the contract's types: equal for equal values.

    For a loader that infers types, adds columns, and leaves out columns without values.
    """
    columns = {column.name: column.type.sql("duckdb") for column in contract()["retail.sales"].source_columns}
    cast = ", ".join(f"{name}::{type_} AS {name}" for name, type_ in columns.items())
    none = ", ".join(f"NULL::{type_} AS {name}" for name, type_ in columns.items())
    return _loaded(data, f"SELECT {cast} FROM (FROM retail.sales UNION ALL BY NAME SELECT {none} WHERE FALSE)")


def sum_of_hashes(warehouse: duckdb.DuckDBPyConnection, query: str) -> int | None:
    """Sum of the rows' hashes: equal for equal rows in equal types, whatever their order. None without rows."""
    [(checksum,)] = warehouse.execute(
        f"SELECT sum(hash(row, typeof(row))) FROM (SELECT listed AS row FROM ({query}) AS listed)"
    ).fetchall()
    return checksum


def _loaded(data: str, query: str) -> int:
    with duckdb.connect(f"{data}/live_raw.duckdb", read_only=True) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        checksum = sum_of_hashes(warehouse, query)
    if checksum is None:
        raise click.ClickException("retail.sales has no rows after the load")
    return checksum
