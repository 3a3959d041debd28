"""A profile of the tables that analysts read: rows, and of each column NULLs, distinct values, minimum and maximum.

It has no personal data: no masked column, and no minimum or maximum of rows of persons or of text. The columns that
dashboards read are an exception, because all their readers see them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import duckdb
import pandas as pd  # type: ignore[import-untyped]
from sqlglot import exp
from sqlmesh.core.model import Model

from meshflow.catalog.operations import find_warehouse
from meshflow.masking import PERSONAL, is_by_person, masked_columns, masked_names
from meshflow.publish import SERVED, WarehouseBusyError, copy
from meshflow.serve import SCHEMAS, Query

COUNTS = ("COUNT({0})", "APPROX_COUNT_DISTINCT({0})")
"""Of a column. An exact number of distinct values would need the memory of all of them."""
BOUNDS = ("MIN({0})::VARCHAR", "MAX({0})::VARCHAR")
ORDERED = (*exp.DataType.NUMERIC_TYPES, *exp.DataType.TEMPORAL_TYPES)
"""Types whose minimum and maximum tell something. Snowflake has none of BOOLEAN."""
LONGEST = 80
"""Characters of a minimum or maximum."""
COLUMNS = Query("SELECT table_schema, table_name, column_name FROM information_schema.columns")

Bounded = Mapping[str, bool]
"""The columns of a table that are profiled, and whether their minimum and maximum are shown."""
Run = Callable[[str, Query], pd.DataFrame]
"""Runs a query on the tables of an environment."""


@dataclass(frozen=True)
class ColumnProfile:
    null_percent: float
    distinct_count: int
    """About: both engines estimate it in one scan."""
    minimum: str = ""
    maximum: str = ""


@dataclass(frozen=True)
class TableProfile:
    row_count: int
    columns: dict[str, ColumnProfile]


@dataclass(frozen=True)
class Profile:
    """The tables of one environment, by model."""

    environment: str
    gateway: str
    read_at: str
    models: dict[str, TableProfile]


def profiled_columns(models: Collection[Model]) -> dict[str, Bounded]:
    """What is profiled of each of `models` in the schemas that dashboards read, but for those with the tag `pii`."""
    personal = masked_names(models)
    found: dict[str, Bounded] = {}
    for model in models:
        if model.schema_name.lower() not in SCHEMAS or PERSONAL in model.tags:
            continue
        served, masked, is_personal = SERVED.get(model.name, ()), masked_columns(model), is_by_person(model, models)
        types = {column.lower(): type_ for column, type_ in (model.columns_to_types or {}).items()}
        found[model.name] = {
            name: not type_.is_type(exp.DType.BOOLEAN)
            and (name in served or (type_.is_type(*ORDERED) and not is_personal and name not in personal))
            for name, type_ in types.items()
            if name not in masked
        }
    return found


def read_profile(gateway: str, environment: str, data: Path, now: datetime, tables: Mapping[str, Bounded]) -> Profile:
    """Profile `tables` with one query each, which keeps no plan or run waiting.

    Tables that the environment lacks, or that lack a column there, are left out.
    Raises click.ClickException if the gateway has no warehouse or not the environment, or if a plan is writing it.
    """
    warehouse, state = find_warehouse(gateway, environment, data)
    if state.snapshot is None:
        found = _read(partial(warehouse.run, state), environment, tables)
    else:  # that has the columns of dashboards only
        with _copied(data / f"{gateway}_analytics.duckdb", data / "dashboards") as run:
            found = _read(run, environment, tables)
    return Profile(environment, gateway, now.isoformat(), found)


@contextmanager
def _copied(warehouse: Path, folder: Path) -> Iterator[Run]:
    """Runs queries on a copy of a DuckDB warehouse in `folder`, which is deleted."""
    with TemporaryDirectory(dir=folder, prefix=".") as temporary, closing(duckdb.connect()) as connection:
        try:
            copied = copy(warehouse, Path(temporary))
        except WarehouseBusyError:
            raise click.ClickException("A plan or run is writing the warehouse: profile it afterwards") from None
        connection.execute(f"ATTACH {exp.Literal.string(str(copied)).sql(dialect='duckdb')} AS ANALYTICS")
        connection.execute("USE ANALYTICS")
        try:
            yield lambda environment, query: connection.execute(query.to_sql(environment, "duckdb")).df()
        except duckdb.Error as error:
            raise click.ClickException(f"{warehouse} can't be profiled: {str(error).splitlines()[0]}") from None


def _read(run: Run, environment: str, tables: Mapping[str, Bounded]) -> dict[str, TableProfile]:
    rows = run("prod", COLUMNS).itertuples(index=False)
    existing = {(schema.lower(), table.lower(), column.lower()) for schema, table, column in rows}
    found = {}
    for table, columns in tables.items():
        schema, _, name = table.partition(".")
        in_environment = schema if environment == "prod" else f"{schema}__{environment}"
        if columns and all((in_environment, name, column) in existing for column in columns):
            found[table] = _profile(run(environment, _query(table, columns)), columns)
    return found


def _query(table: str, columns: Bounded) -> Query:
    measures = [
        measure.format(column)
        for column, is_bounded in columns.items()
        for measure in (*COUNTS, *(BOUNDS if is_bounded else ("NULL", "NULL")))
    ]
    values = ", ".join(f"{measure} AS value_{number}" for number, measure in enumerate(measures))
    return Query(f"SELECT COUNT(*) AS row_count, {values} FROM {table}")  # noqa: S608 - names of models


def _profile(frame: pd.DataFrame, columns: Bounded) -> TableProfile:
    rows, *figures = frame.astype(object).iloc[0]
    measures = len(COUNTS) + len(BOUNDS)
    return TableProfile(
        int(rows),
        {
            column: _column(int(rows), *figures[measures * number : measures * (number + 1)])
            for number, column in enumerate(columns)
        },
    )


def _column(rows: int, present: Any, distinct: Any, minimum: Any, maximum: Any) -> ColumnProfile:
    null_percent = 100 * (rows - int(present)) / rows if rows else 0.0
    return ColumnProfile(round(null_percent, 2), int(distinct), _shortened(minimum), _shortened(maximum))


def _shortened(value: Any) -> str:
    text = "" if pd.isna(value) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
