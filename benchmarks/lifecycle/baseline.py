"""Variant baseline: the same queries, one after another in one process of DuckDB.

It keeps no versions of tables and no state.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
from lifecycle.statement_counts import count_statements

MEMORY = "6GB"
"""Memory limit of DuckDB, as in config.yaml."""
SHOWN_SECONDS = 0.01
"""Parts that take less are left out."""


def build(data: str, rendered: str) -> dict[str, Any]:
    """Create every table and view, and run every audit, in baseline_analytics.duckdb in `data`."""
    return _work(data, rendered, 0)


def hour(data: str, rendered: str, number: int) -> dict[str, Any]:
    """Process the rows loaded in hour `number`, from 1: write the tables of the models that are due, and audit them."""
    return _work(data, rendered, number)


def _work(data: str, rendered: str, interval: int) -> dict[str, Any]:
    models = json.loads(Path(rendered).read_text())
    with count_statements() as counts:
        connection = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": f"{data}/baseline_spill"})
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{data}/baseline_analytics.duckdb' AS ANALYTICS")
        connection.execute(f"ATTACH '{data}/live_raw.duckdb' AS RAW (READ_ONLY)")
        connection.execute("USE ANALYTICS")
        seconds: dict[str, float] = defaultdict(float)
        for model in models:
            work = _build(model) if interval == 0 else _write(model, interval)
            for part, statement in (*work, *(("audits", audit) for audit in model["audits"][interval])):
                before = counts.duckdb_seconds
                connection.execute(statement)
                seconds[f"{model['table']}, {part}"] += counts.duckdb_seconds - before
    return {
        **asdict(counts),
        "parts": {name: round(took, 3) for name, took in seconds.items() if took >= SHOWN_SECONDS},
    }


def _build(model: dict[str, Any]) -> Iterable[tuple[str, str]]:
    table, query = model["table"], model["queries"][0]
    yield "query", f"CREATE SCHEMA IF NOT EXISTS {table.split('.')[0]}"
    match model["kind"]:
        case "view":
            yield "query", f"CREATE VIEW {table} AS {query}"
        case "appended" | "replaced":
            # Some models read their own previous rows.
            columns = ", ".join(f"{name} {data_type}" for name, data_type in model["columns"].items())
            yield "query", f"CREATE TABLE {table} ({columns})"
            yield "query", f"INSERT INTO {table} {query}"
        case _:
            yield "query", f"CREATE TABLE {table} AS {query}"


def _write(model: dict[str, Any], interval: int) -> Iterable[tuple[str, str]]:
    table, key, query = model["table"], model["key"], model["queries"][interval]
    if query is None:
        return
    if model["kind"] in {"appended", "replaced"}:
        # As in macros/affected.py.
        newest = f"SELECT MAX(_loaded_at) + INTERVAL 1 MICROSECOND FROM {table}"
        yield "query", f"SET VARIABLE since = LEAST(TIMESTAMP '{model['starts'][interval]}', ({newest}))"
    match model["kind"]:
        case "appended":
            yield "query", f"INSERT INTO {table} {query}"
        case "replaced":
            yield "query", f"CREATE OR REPLACE TEMP TABLE new AS {query}"
            yield "merge", "BEGIN"
            yield "merge", f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM new)"
            yield "merge", f"DELETE FROM {table} WHERE {key} IS NULL"
            yield "merge", f"INSERT INTO {table} FROM new WHERE {model['row_exists']}"
            yield "merge", "COMMIT"
        case "full":
            yield "query", f"CREATE OR REPLACE TABLE {table} AS {query}"
