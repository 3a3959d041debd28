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
NOW = "now()::TIMESTAMP"


def build(data: str, rendered: str) -> dict[str, Any]:
    """Create every table by CREATE TABLE AS, then run every audit, in baseline_analytics.duckdb in `data`."""
    return _work(data, rendered, 0)


def hour(data: str, rendered: str, number: int) -> dict[str, Any]:
    """Process the rows loaded in hour `number`, from 1: rebuild full tables, merge others by key, run every audit."""
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
            work = _build(model) if interval == 0 else _merge(model, interval)
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
        case "merged":
            # Some models read their own previous rows.
            columns = ", ".join(f"{name} {data_type}" for name, data_type in model["columns"].items())
            yield "query", f"CREATE TABLE {table} ({columns})"
            yield "query", f"INSERT INTO {table} {query}"
        case "history":
            yield (
                "query",
                f"CREATE TABLE {table} AS SELECT *, {NOW} AS valid_from, NULL::TIMESTAMP AS valid_to FROM ({query})",
            )
        case _:
            yield "query", f"CREATE TABLE {table} AS {query}"


def _merge(model: dict[str, Any], interval: int) -> Iterable[tuple[str, str]]:
    table, query = model["table"], model["queries"][interval]
    match model["kind"]:
        case "merged":
            # Twenty times as fast as DuckDB's MERGE, and what SQLMesh and dbt do on DuckDB too.
            yield "query", f"CREATE OR REPLACE TEMP TABLE new AS {query}"
            yield "merge", f"DELETE FROM {table} AS old USING new WHERE {' AND '.join(model['key'])}"
            yield "merge", f"INSERT INTO {table} FROM new"
        case "full":
            yield "query", f"CREATE OR REPLACE TABLE {table} AS {query}"
        case "history":
            [key] = model["key"]
            differs = " OR ".join(f"old.{column} IS DISTINCT FROM new.{column}" for column in model["compared"])
            yield "query", f"CREATE OR REPLACE TEMP TABLE now AS {query}"
            changed = (
                f"SELECT {key} FROM (FROM {table} WHERE valid_to IS NULL) AS old FULL JOIN now AS new USING ({key}) "
                f"WHERE new.{key} IS NULL OR old.{key} IS NULL OR {differs}"
            )
            yield "merge", f"CREATE OR REPLACE TEMP TABLE changed AS {changed}"
            yield "merge", f"UPDATE {table} SET valid_to = {NOW} WHERE valid_to IS NULL AND {key} IN (FROM changed)"
            yield "merge", f"INSERT INTO {table} SELECT *, {NOW}, NULL FROM now WHERE {key} IN (FROM changed)"
