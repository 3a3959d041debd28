"""A profile of the tables that dashboards read: rows, and of each column NULLs, distinct values, minimum and maximum.

It reads what dashboards may read, and nothing else: no personal data, whose columns they aren't served.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]

from meshflow.catalog.operations import find_warehouse
from meshflow.publish import SERVED
from meshflow.serve import Query

MEASURES = ("COUNT({0})", "APPROX_COUNT_DISTINCT({0})", "MIN({0})::VARCHAR", "MAX({0})::VARCHAR")
"""Of a column. An exact number of distinct values would need the memory of all of them."""
LONGEST = 80
"""Characters of a minimum or maximum."""


@dataclass(frozen=True)
class ColumnProfile:
    null_percent: float
    distinct_count: int
    """About: both engines estimate it in one scan."""
    minimum: str
    maximum: str


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


def read_profile(gateway: str, environment: str, data: Path, now: datetime) -> Profile:
    """Read it with one query a table, as dashboards do, which keeps no plan or run waiting.

    Raises click.ClickException if the gateway has no warehouse or not the environment, or it lacks a served table.
    """
    warehouse, state = find_warehouse(gateway, environment, data)
    found = {}
    for model, columns in SERVED.items():
        measures = [measure.format(column) for column in columns for measure in MEASURES]
        values = ", ".join(f"{measure} AS value_{number}" for number, measure in enumerate(measures))
        query = Query(f"SELECT COUNT(*) AS row_count, {values} FROM {model}")  # noqa: S608 - names from SERVED
        frame = warehouse.run(state, environment, query)
        row_count, *figures = frame.astype(object).iloc[0]
        found[model] = TableProfile(
            int(row_count),
            {
                column: _column(int(row_count), *figures[4 * number : 4 * number + 4])
                for number, column in enumerate(columns)
            },
        )
    return Profile(environment, gateway, now.isoformat(), found)


def _column(rows: int, present: Any, distinct: Any, minimum: Any, maximum: Any) -> ColumnProfile:
    null_percent = 100 * (rows - int(present)) / rows if rows else 0.0
    return ColumnProfile(round(null_percent, 2), int(distinct), _shortened(minimum), _shortened(maximum))


def _shortened(value: Any) -> str:
    text = "" if pd.isna(value) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
