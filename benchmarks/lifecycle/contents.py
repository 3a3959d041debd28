"""Checksums of a warehouse's tables, for comparison."""

import json
from pathlib import Path

import duckdb
from loading.warehouse import sum_of_hashes


def checksums(database: str, name: str, rendered: str) -> dict[str, list[int | str]]:
    """By table: rows, and a sum of hashes that is equal for equal rows in equal types, whatever their order.

    Without staging, whose rows are those of RAW. `name` is the database's name in its own views.
    """
    tables = [model for model in json.loads(Path(rendered).read_text()) if not model["table"].startswith("staging.")]
    with duckdb.connect() as warehouse:
        # Views contain the name of their database.
        warehouse.execute(f"ATTACH '{database}' AS {name} (READ_ONLY)")
        warehouse.execute(f"USE {name}")
        warehouse.execute(f"ATTACH '{Path(database).parent}/live_raw.duckdb' AS RAW (READ_ONLY)")
        found = {}
        for model in tables:
            columns = ", ".join(f"{column} AS {column}" for column in model["columns"])
            query = f"SELECT {columns} FROM {model['table']}"
            [(rows,)] = warehouse.execute(f"SELECT count(*) FROM ({query})").fetchall()
            found[model["table"]] = [rows, str(sum_of_hashes(warehouse, query))]
    return found
