"""Panels: a query's result for each selected environment, as chart, table and CSV, with its tables and timestamps."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import click
import pandas as pd
import streamlit as st

from meshflow.serve import Query, QueryResult, State, Warehouse

LATE_AFTER = timedelta(days=1)
"""Live data older than this are late: the source systems write every few minutes."""

Draw = Callable[[pd.DataFrame, float], alt.TopLevelMixin]
"""Draws rows; the number is the largest value of all environments' charts, so that they share a scale."""


@dataclass(frozen=True)
class View:
    """What is selected in the sidebar."""

    warehouse: Warehouse
    state: State
    environments: tuple[str, ...]
    """One, or two to compare."""

    def run(self, environment: str, query: Query) -> QueryResult:
        return _run(self.warehouse, self.state, self.state.version, environment, query.sql, query.parameters)

    def options(self, query: Query) -> pd.DataFrame:
        """Values for filters: the distinct rows of all selected environments."""
        return pd.concat([self.run(environment, query).rows for environment in self.environments]).drop_duplicates()


@st.cache_data(max_entries=500, show_spinner=False)
def _run(
    _warehouse: Warehouse,
    _state: State,
    version: str,  # noqa: ARG001 - part of the cache key
    environment: str,
    sql: str,
    parameters: tuple[Any, ...],
) -> QueryResult:
    return _warehouse.run(_state, environment, Query(sql, parameters))


def show_panel(  # noqa: PLR0913 - what a panel shows
    view: View,
    title: str,
    query: Query,
    draw: Draw | None = None,
    *,
    maximum: Callable[[pd.DataFrame], Any] | None = None,
    last_load: Query | None = None,
    note: str = "",
    empty: str = "No rows match the filters, or none have been loaded.",
) -> None:
    """Show a chart per environment in parallel columns, its rows as a table and as CSV; without `draw` the table alone.

    `maximum` returns the largest value in the chart of some rows, `last_load` queries the newest `_loaded_at`, and
    `empty` is shown if there are no rows.
    """
    st.header(title)
    if note:
        caption(note)
    results = [_run_or_error(view, environment, query) for environment in view.environments]
    filled = [result.rows for result in results if isinstance(result, QueryResult) and not result.rows.empty]
    scale_max = max((float(maximum(rows)) for rows in filled), default=0) if maximum else 0
    for column, environment, result in zip(st.columns(len(results)), view.environments, results, strict=True):
        with column:
            if len(results) > 1:
                st.markdown(f"**{environment}**")
            if isinstance(result, click.ClickException):
                st.warning(result.message)
            elif result.rows.empty:
                st.info(empty)
            else:
                _show_rows(environment, title, result.rows, draw, scale_max)
            if isinstance(result, QueryResult):
                caption(describe_origin(view, environment, query, result, last_load))


def show_totals(  # noqa: PLR0913, PLR0917 - what it shows
    view: View,
    query: Query,
    figures: Mapping[str, tuple[str, str]],
    last_load: Query,
    note: str = "",
    previous: Query | None = None,
) -> None:
    """Show the single row of `query` as large figures: by label a column and its unit.

    With `previous`, a query for another such row, each figure shows its relative change.
    """
    for environment in view.environments:
        result = view.run(environment, query)
        new = result.rows.iloc[0]
        old = view.run(environment, previous).rows.iloc[0] if previous else None
        if len(view.environments) > 1:
            st.markdown(f"**{environment}**")
        for column, (label, (measure, unit)) in zip(st.columns(len(figures)), figures.items(), strict=True):
            figure = f"{new[measure]:,.2f} USD" if unit == "USD" else f"{new[measure]:,}"
            change = None if old is None or not old[measure] else f"{(new[measure] - old[measure]) / old[measure]:+.1%}"
            column.metric(label, figure, change, delta_color="off", border=True)
        caption(f"{describe_origin(view, environment, query, result, last_load)} {note}".rstrip())


def _show_rows(environment: str, title: str, rows: pd.DataFrame, draw: Draw | None, scale_max: float) -> None:
    name = f"{title}, {environment}"
    if draw:
        st.altair_chart(draw(_decimals_to_floats(rows), scale_max), alt=name, key=f"chart {name}")
    with st.expander("Rows", expanded=draw is None):
        st.dataframe(rows, hide_index=True, alt=f"Rows of {name}", key=f"table {name}")
        st.download_button(
            "Download as CSV",
            to_csv(rows),
            re.sub(r"\W+", "_", f"{title} {environment}").lower() + ".csv",
            "text/csv",
            key=f"csv {name}",
            on_click="ignore",
            help=name,
        )


def describe_origin(view: View, environment: str, query: Query, result: QueryResult, last_load: Query | None) -> str:
    """Which tables of which environment the rows come from, and as of when."""
    tables = ", ".join(f"`{table}`" for table in query.tables)
    newest = last_load and last_loaded_at(view, environment, last_load)
    until = f"; newest row loaded {format_timestamp(newest)}" if newest else ""
    return f"From {tables} in {environment}, as of {format_timestamp(result.as_of)}{until}."


def last_loaded_at(view: View, environment: str, last_load: Query) -> datetime | None:
    """When the newest row was loaded, UTC; None if there is none or the query fails."""
    result = _run_or_error(view, environment, last_load)
    newest = result.rows.iloc[0, 0] if isinstance(result, QueryResult) else None
    return None if newest is None or pd.isna(newest) else pd.Timestamp(newest).to_pydatetime().replace(tzinfo=UTC)


def warn_if_late(view: View, last_load: Query) -> None:
    if view.warehouse.is_sample:
        caption("Sample data up to 31 Oct 2026; relative dates use 1 Nov 2026.")
        return
    for environment in view.environments:
        newest = last_loaded_at(view, environment, last_load)
        if newest and datetime.now(UTC) - newest > LATE_AFTER:
            st.warning(
                f"Data in {environment} is late: the newest row was loaded {format_age(newest)}. "
                "See docs/runbooks/late-data.md."
            )


def to_csv(rows: pd.DataFrame) -> bytes:
    """The rows as CSV; text that a spreadsheet would run as a formula gets an apostrophe before it."""

    def escape_formula(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

    return rows.map(escape_formula).to_csv(index=False).encode()


def format_age(timestamp: datetime) -> str:
    """Time since `timestamp` in the largest unit that fits: `3 minutes ago`."""
    seconds = max((datetime.now(UTC) - timestamp).total_seconds(), 0)  # the warehouse's clock may be ahead of ours
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if count := int(seconds // size):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"


def format_timestamp(timestamp: datetime) -> str:
    return f"{timestamp:%d %b %Y %H:%M} UTC ({format_age(timestamp)})"


def caption(text: str) -> None:
    """Like st.caption, whose grey has too little contrast: 3.9 to 1."""
    st.markdown(f":small[{text}]")


def select_values(label: str, values: Sequence[Any]) -> list[Any]:
    """Show a filter and return the selected values; none selected means all."""
    options = sorted({value for value in values if value is not None})
    return st.multiselect(label, options, placeholder="all", key=f"filter {label}")


def _run_or_error(view: View, environment: str, query: Query) -> QueryResult | click.ClickException:
    try:
        return view.run(environment, query)
    except click.ClickException as error:
        return error


def _decimals_to_floats(rows: pd.DataFrame) -> pd.DataFrame:
    """Altair's charts need floats. A cent is exact up to 90 trillion."""
    numbers = {name: float for name, column in rows.items() if any(type(one).__name__ == "Decimal" for one in column)}
    return rows.astype(numbers)
