"""Panels: a query's result for each selected environment, as chart, table and CSV, with the freshness of its tables."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import altair as alt
import click
import pandas as pd
import streamlit as st

from meshflow.serve import Query, State, Warehouse

FRESHNESS = """
SELECT freshness.model, freshness.processed_until, freshness.late_at, freshness.laggard, freshness.failed_models
FROM ops.model_freshness AS freshness
WHERE freshness.environment = ?
ORDER BY freshness.late_at, freshness.processed_until, freshness.model
"""
"""By model; the one that is late first comes first."""

Draw = Callable[[pd.DataFrame, float], alt.TopLevelMixin]
"""Draws rows; the number is the largest value of all environments' charts, so that they share a scale."""


@dataclass(frozen=True)
class View:
    """What is selected in the sidebar."""

    warehouse: Warehouse
    state: State
    environments: tuple[str, ...]
    """One, or two to compare."""

    def run(self, environment: str, query: Query) -> pd.DataFrame:
        return _run(self.warehouse, self.state, self.state.version, environment, query.sql, query.parameters)

    def options(self, query: Query) -> pd.DataFrame:
        """Values for filters: the distinct rows of all selected environments."""
        return pd.concat([self.run(environment, query) for environment in self.environments]).drop_duplicates()


@st.cache_data(max_entries=500, show_spinner=False)
def _run(
    _warehouse: Warehouse,
    _state: State,
    version: str,  # noqa: ARG001 - part of the cache key
    environment: str,
    sql: str,
    parameters: tuple[Any, ...],
) -> pd.DataFrame:
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
    results = [run_or_error(view, environment, query) for environment in view.environments]
    filled = [result for result in results if isinstance(result, pd.DataFrame) and not result.empty]
    scale_max = max((float(maximum(rows)) for rows in filled), default=0) if maximum else 0
    for column, environment, result in zip(st.columns(len(results)), view.environments, results, strict=True):
        with column:
            if len(results) > 1:
                st.markdown(f"**{environment}**")
            if isinstance(result, click.ClickException):
                st.warning(result.message)
            elif result.empty:
                st.info(empty)
            else:
                _show_rows(environment, title, result, draw, scale_max)
            if isinstance(result, pd.DataFrame):
                caption(describe_origin(view, environment, query, last_load))


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
    # One element of the page, as in show_status.
    box = st.container()
    for environment in view.environments:
        new = view.run(environment, query).iloc[0]
        old = view.run(environment, previous).iloc[0] if previous else None
        if len(view.environments) > 1:
            box.markdown(f"**{environment}**")
        for column, (label, (measure, unit)) in zip(box.columns(len(figures)), figures.items(), strict=True):
            figure = f"{new[measure]:,.2f} USD" if unit == "USD" else f"{new[measure]:,}"
            change = None if old is None or not old[measure] else f"{(new[measure] - old[measure]) / old[measure]:+.1%}"
            column.metric(label, figure, change, delta_color="off", border=True)
        with box:
            caption(f"{describe_origin(view, environment, query, last_load)} {note}".rstrip())


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


def describe_origin(view: View, environment: str, query: Query, last_load: Query | None) -> str:
    """Which tables of which environment the rows come from, and how far these are processed."""
    tables = ", ".join(f"`{table}`" for table in query.tables)
    newest = last_load and last_loaded_at(view, environment, last_load)
    loaded = f"; newest row loaded {format_timestamp(newest)}" if newest else ""
    until = processed_until(view, environment, query.tables)
    processed = f", processed until {format_timestamp(until)}" if until else ""
    return f"From {tables} in {environment}{processed}{loaded}."


def freshness(view: View, environment: str, tables: Collection[str] | None) -> pd.DataFrame:
    """The rows of FRESHNESS that concern `tables`, or all; none if no run is recorded, and none of the sample."""
    found = None if view.warehouse.is_sample else _run_or_none(view, environment, Query(FRESHNESS, (environment,)))
    if found is None:
        return pd.DataFrame(columns=["model", "processed_until", "late_at", "laggard", "failed_models"])
    return found if tables is None else found[found["model"].isin(tables)]


def processed_until(view: View, environment: str, tables: Collection[str]) -> datetime | None:
    """All rows loaded before are shown in `tables`, UTC; None if that isn't recorded."""
    found = freshness(view, environment, tables)["processed_until"]
    return None if found.empty else to_utc(found.min())


def last_loaded_at(view: View, environment: str, last_load: Query) -> datetime | None:
    """When the newest row was loaded, UTC; None if there is none or the query fails."""
    found = _run_or_none(view, environment, last_load)
    newest = None if found is None else found.iloc[0, 0]
    return None if newest is None or pd.isna(newest) else to_utc(newest)


def to_utc(timestamp: Any) -> datetime:
    """A TIMESTAMP of a warehouse, which are UTC."""
    found: datetime = pd.Timestamp(timestamp).to_pydatetime().replace(tzinfo=UTC)
    return found


FORMULA = tuple("=+-@＝＋－＠\t\r\n")  # noqa: RUF001 - a Japanese or Chinese spreadsheet reads full-width characters alike
"""The first characters of text that a spreadsheet would run as a formula."""


def to_csv(rows: pd.DataFrame) -> bytes:
    """The rows as CSV; text that a spreadsheet would run as a formula gets an apostrophe before it."""

    def escape_formula(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    # With these line ends, a carriage return within a value is quoted. It would begin a row otherwise.
    return rows.map(escape_formula).to_csv(index=False, lineterminator="\r\n").encode()


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


def select_values(label: str, values: Sequence[Any], key: str) -> list[Any]:
    """Show a filter, whose selection is in the URL as `key`. Returns the selected values; none selected means all."""
    options = sorted({value for value in values if value is not None})
    return st.multiselect(label, options, placeholder="all", key=key, bind="query-params")


def run_or_error(view: View, environment: str, query: Query) -> pd.DataFrame | click.ClickException:
    try:
        return view.run(environment, query)
    except click.ClickException as error:
        return error


def _run_or_none(view: View, environment: str, query: Query) -> pd.DataFrame | None:
    found = run_or_error(view, environment, query)
    return None if isinstance(found, click.ClickException) else found


def _decimals_to_floats(rows: pd.DataFrame) -> pd.DataFrame:
    """Altair's charts need floats. A cent is exact up to 90 trillion."""
    numbers = {name: float for name, column in rows.items() if any(type(one).__name__ == "Decimal" for one in column)}
    return rows.astype(numbers)
