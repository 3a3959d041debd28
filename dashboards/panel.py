"""Panels: a query's result for each selected environment, as chart, table and CSV, with the freshness of its tables."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Number
from typing import Any

import altair as alt
import click
import pandas as pd
import streamlit as st
from charts import FORMATS, Measure

from meshflow.serve import Query, State, Warehouse

FRESHNESS = """
SELECT freshness.model, freshness.processed_until, freshness.late_at, freshness.laggard, freshness.failed_models
FROM ops.model_freshness AS freshness
WHERE freshness.environment = ?
ORDER BY freshness.late_at, freshness.processed_until, freshness.model
"""
"""By model; the one that is late first comes first."""

TILE_WIDTH = 168
"""Pixels of a large figure, and of a filter: two fit on a phone."""

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
        return _run(self.warehouse, self.state, self.state.version, environment, query)

    def options(self, query: Query) -> pd.DataFrame:
        """Values for filters: the distinct rows of all selected environments."""
        return pd.concat([self.run(environment, query) for environment in self.environments]).drop_duplicates()


@st.cache_data(max_entries=500, show_spinner=False)
def _run(
    _warehouse: Warehouse,
    _state: State,
    version: str,  # noqa: ARG001 - part of the cache key
    environment: str,
    query: Query,
) -> pd.DataFrame:
    return _warehouse.run(_state, environment, query)


def show_panel(  # noqa: PLR0913 - what a panel shows
    view: View,
    title: str,
    query: Query,
    draw: Draw | None = None,
    *,
    keys: int = 1,
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    is_overlaid: bool = False,
    limit: int | None = None,
    maximum: Callable[[pd.DataFrame], Any] | None = None,
    last_load: Query | None = None,
    note: str = "",
    on_choose: Callable[[str | None], None] | None = None,
    empty: str = "No rows match the filters, or none have been loaded.",
) -> None:
    """Show a chart, its rows as a table and as CSV; without `draw` the table alone.

    Two environments share a chart if `is_overlaid`, or have one each. They share a table: it matches their rows by the
    first `keys` columns, and has the differences. `prepare` sorts and marks the rows. The chart has the first `limit`
    keys. `on_choose` gets the first key of a bar that was clicked, or None. `maximum` returns the largest value in the
    chart of some rows, `last_load` queries the newest `_loaded_at`, and `empty` is shown if there are no rows.
    """
    st.header(title)
    if note:
        caption(note)
    with reading(query):
        results = {environment: run_or_error(view, environment, query) for environment in view.environments}
    filled = {}
    for environment, result in results.items():
        name = f"{environment}: " if len(results) > 1 else ""
        if isinstance(result, click.ClickException):
            st.warning(f"{name}{result.message}")
        elif result.empty:
            st.info(f"{name}{empty}")
        else:
            filled[environment] = prepare(result) if prepare else result
    if filled:
        if draw:
            drawn = _first_rows(filled, limit) if limit else filled
            _show_charts(title, drawn, draw, maximum, on_choose, is_overlaid=is_overlaid)
        _show_rows(title, filled, keys, is_open=draw is None)
    for environment, result in results.items():
        if isinstance(result, pd.DataFrame):
            caption(describe_origin(view, environment, query, last_load))


def reading(query: Query) -> AbstractContextManager[None]:
    """Say what is read while the block runs, if it takes longer than a tenth of a second."""
    return st.spinner(f"Reading {', '.join(query.tables)} …")


def _first_rows(filled: Mapping[str, pd.DataFrame], limit: int) -> dict[str, pd.DataFrame]:
    """The rows of the first `limit` keys. Says how many others there are."""
    names = list(dict.fromkeys(name for rows in filled.values() for name in rows.iloc[:, 0]))
    if len(names) > limit:
        caption(f"The first {limit} of {len(names):,} are drawn. *Rows* has all of them.")
    return {environment: rows[rows.iloc[:, 0].isin(names[:limit])] for environment, rows in filled.items()}


def _show_charts(  # noqa: PLR0913 - what a chart shows
    title: str,
    filled: Mapping[str, pd.DataFrame],
    draw: Draw,
    maximum: Callable[[pd.DataFrame], Any] | None,
    on_choose: Callable[[str | None], None] | None,
    *,
    is_overlaid: bool,
) -> None:
    scale_max = max(float(maximum(rows)) for rows in filled.values()) if maximum else 0
    drawn = {name: _decimals_to_floats(rows).assign(environment=name) for name, rows in filled.items()}
    if is_overlaid:
        drawn = {" and ".join(drawn): pd.concat(drawn.values())}
    for column, (name, rows) in zip(st.columns(len(drawn)), drawn.items(), strict=True):
        with column:
            if len(drawn) > 1:
                st.markdown(f"**{name}**")
            key = f"chart {title}, {name}"

            def choose(key: str = key) -> None:
                chosen = st.session_state[key]["selection"]["chosen"]
                if on_choose:
                    on_choose(next(iter(chosen[0].values())) if chosen else None)

            st.altair_chart(
                draw(rows, scale_max), alt=f"{title}, {name}", key=key, on_select=choose if on_choose else "ignore"
            )


def _show_rows(title: str, filled: Mapping[str, pd.DataFrame], keys: int, *, is_open: bool) -> None:
    name = f"{title}, {' and '.join(filled)}"
    [rows, *_] = filled.values()
    if len(filled) > 1:
        rows, differing = compare(filled, list(rows.columns[:keys]))
        st.markdown(
            f"**{differing:,} of {len(rows):,} rows differ between {' and '.join(filled)}.**"
            if differing
            else f"**{' and '.join(filled)} are equal.**"
        )
    with st.expander("Rows", expanded=is_open):
        st.dataframe(
            rows, hide_index=True, alt=f"Rows of {name}", key=f"table {name}", column_config=number_formats(rows)
        )
        st.download_button(
            "Download as CSV",
            to_csv(rows),
            re.sub(r"\W+", "_", name).lower() + ".csv",
            "text/csv",
            key=f"csv {name}",
            on_click="ignore",
            help=name,
        )


def compare(results: Mapping[str, pd.DataFrame], keys: list[str]) -> tuple[pd.DataFrame, int]:
    """The rows of two environments in one table, and how many differ; these come first.

    Rows with the same `keys` are one row. Each other column is there once per environment; numbers have a difference,
    second less first, for which a row that an environment lacks counts as 0.
    """
    (first, left), (second, right) = ((name, rows.set_index(keys)) for name, rows in results.items())
    index = left.index.append(right.index.difference(left.index, sort=False))
    table = pd.DataFrame(index=index)
    differs = ~(index.isin(left.index) & index.isin(right.index))
    for column in left.columns:
        old, new = left[column].reindex(index), right[column].reindex(index)
        differs |= [not _is_equal(*pair) for pair in zip(old, new, strict=True)]
        table[f"{column} {first}"], table[f"{column} {second}"] = old, new
        if is_number(left[column]):
            table[f"{column} difference"] = [
                (0 if pd.isna(other) else other) - (0 if pd.isna(one) else one)
                for one, other in zip(old, new, strict=True)
            ]
    order = sorted(range(len(table)), key=lambda position: not differs[position])
    return table.iloc[order].reset_index(), int(differs.sum())


def show_totals(  # noqa: PLR0913, PLR0917 - what it shows
    view: View,
    query: Query,
    measures: Sequence[Measure],
    last_load: Query,
    note: str = "",
    previous: Query | None = None,
) -> None:
    """Show the single row of `query` as large figures.

    With `previous`, a query for another such row, each has its relative change. The figures of a second environment
    have their difference to the first one instead.
    """
    # One element of the page, as in show_status.
    box = st.container()
    with box, reading(query):
        totals = {environment: view.run(environment, query).iloc[0] for environment in view.environments}
    first = view.environments[0]
    for environment, new in totals.items():
        old = view.run(environment, previous).iloc[0] if previous else None
        if len(totals) > 1:
            box.markdown(
                f"**{environment}**" if environment == first else f"**{environment}**, with differences to {first}"
            )
        row = box.container(horizontal=True)
        for measure in measures:
            is_first = environment == first
            row.metric(
                measure.label,
                figure(new[measure.column], measure),
                _relative_change(old, new, measure) if is_first else _difference(totals[first], new, measure, first),
                delta_color="off",
                delta_arrow="auto" if is_first else "off",
                help=measure.description or None,
                border=True,
                width=TILE_WIDTH,
            )
        with box:
            caption(f"{describe_origin(view, environment, query, last_load)} {note}".rstrip())


def figure(value: Any, measure: Measure) -> str:
    """`1,234.50 USD`, `1.6 %`, `12,000`."""
    if pd.isna(value):
        return "none"
    unit = f" {measure.unit}" if measure.unit in FORMATS else ""
    return f"{value:{measure.format}}{unit}"


def _relative_change(old: pd.Series | None, new: pd.Series, measure: Measure) -> str | None:
    """None if there is nothing to compare with. A rate's change is in percentage points."""
    if old is None or pd.isna(old[measure.column]) or pd.isna(new[measure.column]) or not old[measure.column]:
        return None
    change = new[measure.column] - old[measure.column]
    return f"{change:+.2f} points" if measure.unit == "%" else f"{change / old[measure.column]:+.1%}"


def _difference(first: pd.Series, second: pd.Series, measure: Measure, environment: str) -> str:
    if _is_equal(first[measure.column], second[measure.column]):
        return f"equal to {environment}"
    if pd.isna(first[measure.column]) or pd.isna(second[measure.column]):
        return f"differs from {environment}"
    change = second[measure.column] - first[measure.column]
    return f"{'+' if change > 0 else ''}{figure(change, measure)}"


def _is_equal(one: Any, other: Any) -> bool:
    return bool(pd.isna(one) and pd.isna(other)) or bool(one == other)


def is_number(column: pd.Series) -> bool:
    return all(isinstance(one, Number) and not isinstance(one, bool) for one in column.dropna())


def number_formats(rows: pd.DataFrame) -> dict[str, Any]:
    """Thousands separated; amounts to the cent, rates to the hundredth."""
    formats = {}
    for name, column in rows.items():
        if is_number(column) and not column.dropna().empty and not str(name).endswith(("_id", "_year")):
            is_counted = all(one == int(one) for one in column.dropna()) and "usd" not in str(name)
            formats[str(name)] = st.column_config.NumberColumn(format="%,d" if is_counted else "%,.2f")
    return formats


def count_outside(view: View, query: Query, what: str) -> str:
    """How many lie before and after the period: the two counts of the query's row, for each environment."""
    note = ""
    for environment in view.environments:
        earlier, later = view.run(environment, query).iloc[0]
        note += f" {earlier:,} earlier and {later:,} later {what} of {environment} lie outside."
    return note


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


def select_values(label: str, values: Sequence[Any], key: str, order: Collection[Any] = ()) -> list[Any]:
    """Show a filter, whose selection is in the URL as `key`; options are in the given `order`, then sorted.

    Returns the selected values; none selected means all.
    """
    found = {value for value in values if value is not None}
    options = [*(value for value in order if value in found), *sorted(found - set(order))]
    return st.multiselect(label, options, placeholder="all", key=key, bind="query-params", width=TILE_WIDTH)


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
