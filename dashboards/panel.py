"""A question, its answer in each environment chosen, where that comes from, and of when it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import click
import pandas as pd
import streamlit as st

from meshflow.serve import Answer, Query, State, Warehouse

STALE = timedelta(days=1)
"""Live data this old have stopped: sources write every few minutes."""

Draw = Callable[[pd.DataFrame, float], alt.TopLevelMixin]
"""Draws rows; the number is how high the charts of all environments go, so that they have one scale."""


@dataclass(frozen=True)
class View:
    """What the sidebar says to look at."""

    warehouse: Warehouse
    state: State
    environments: tuple[str, ...]
    """One, or two to compare."""

    def run(self, environment: str, query: Query) -> Answer:
        return _run(self.warehouse, self.state, self.state.version, environment, query.sql, query.parameters)

    def options(self, query: Query) -> pd.DataFrame:
        """What filters offer: the rows of all environments chosen."""
        return pd.concat([self.run(environment, query).rows for environment in self.environments]).drop_duplicates()


@st.cache_data(max_entries=500, show_spinner=False)
def _run(
    _warehouse: Warehouse,
    _state: State,
    version: str,  # noqa: ARG001 - part of the key
    environment: str,
    sql: str,
    parameters: tuple[Any, ...],
) -> Answer:
    return _warehouse.run(_state, environment, Query(sql, parameters))


def panel(  # noqa: PLR0913 - what a panel shows
    view: View,
    title: str,
    query: Query,
    draw: Draw | None = None,
    *,
    top: Callable[[pd.DataFrame], Any] | None = None,
    last_load: Query | None = None,
    note: str = "",
) -> None:
    """A chart for each environment side by side, its rows as a table and as CSV; without `draw` the table alone.

    `top` is how high the chart of some rows goes, `loaded` asks for the newest `_loaded_at` of what is shown.
    """
    st.header(title)
    if note:
        small(note)
    answers = [_try(view, environment, query) for environment in view.environments]
    filled = [answer.rows for answer in answers if isinstance(answer, Answer) and not answer.rows.empty]
    highest = max((float(top(rows)) for rows in filled), default=0) if top else 0
    for column, environment, answer in zip(st.columns(len(answers)), view.environments, answers, strict=True):
        with column:
            if len(answers) > 1:
                st.markdown(f"**{environment}**")
            if isinstance(answer, click.ClickException):
                st.warning(answer.message)
            elif answer.rows.empty:
                st.info("No rows: nothing matches the filters, or nothing has loaded.")
            else:
                _show(environment, title, answer.rows, draw, highest)
            if isinstance(answer, Answer):
                small(source(view, environment, query, answer, last_load))


def totals(  # noqa: PLR0913, PLR0917 - what it shows
    view: View,
    query: Query,
    figures: Mapping[str, tuple[str, str]],
    last_load: Query,
    note: str = "",
    before: Query | None = None,
) -> None:
    """The one row that `query` gives, as large figures: by label a column and its unit.

    With `before`, which gives such a row too, each also tells how much it has changed.
    """
    for environment in view.environments:
        answer = view.run(environment, query)
        new = answer.rows.iloc[0]
        old = view.run(environment, before).rows.iloc[0] if before else None
        if len(view.environments) > 1:
            st.markdown(f"**{environment}**")
        for column, (label, (measure, unit)) in zip(st.columns(len(figures)), figures.items(), strict=True):
            figure = f"{new[measure]:,.2f} USD" if unit == "USD" else f"{new[measure]:,}"
            change = None if old is None or not old[measure] else f"{(new[measure] - old[measure]) / old[measure]:+.1%}"
            column.metric(label, figure, change, delta_color="off", border=True)
        small(f"{source(view, environment, query, answer, last_load)} {note}".rstrip())


def _show(environment: str, title: str, rows: pd.DataFrame, draw: Draw | None, highest: float) -> None:
    name = f"{title}, {environment}"
    if draw:
        st.altair_chart(draw(_plain(rows), highest), alt=name, key=f"chart {name}")
    with st.expander("Rows", expanded=draw is None):
        st.dataframe(rows, hide_index=True, alt=f"Rows of {name}", key=f"table {name}")
        st.download_button(
            "Download as CSV",
            csv(rows),
            f"{title} {environment}.csv".lower().replace(" ", "_"),
            "text/csv",
            key=f"csv {name}",
            on_click="ignore",
            help=name,
        )


def source(view: View, environment: str, query: Query, answer: Answer, last_load: Query | None) -> str:
    """Which tables, of which environment, as of when."""
    tables = ", ".join(f"`{table}`" for table in query.tables)
    newest = last_load and newest_row(view, environment, last_load)
    until = f"; newest row loaded {moment(newest)}" if newest else ""
    return f"From {tables} in {environment}, as of {moment(answer.as_of)}{until}."


def newest_row(view: View, environment: str, last_load: Query) -> datetime | None:
    """When the newest row of what `loaded` asks loaded, UTC."""
    answer = _try(view, environment, last_load)
    newest = answer.rows.iloc[0, 0] if isinstance(answer, Answer) else None
    return None if newest is None or pd.isna(newest) else pd.Timestamp(newest).to_pydatetime().replace(tzinfo=UTC)


def warn_if_late(view: View, last_load: Query) -> None:
    if view.warehouse.is_sample:
        small("These are made-up rows that end on 31 October 2026; what is relative to today is as of 1 November.")
        return
    for environment in view.environments:
        newest = newest_row(view, environment, last_load)
        if newest and datetime.now(UTC) - newest > STALE:
            st.warning(
                f"{environment} is stale: its newest row loaded {age(newest)}. docs/runbooks/late-data.md says why."
            )


def csv(rows: pd.DataFrame) -> bytes:
    """The rows as CSV; text that a spreadsheet would take for a formula gets an apostrophe before it."""

    def harmless(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

    return rows.map(harmless).to_csv(index=False).encode()


def age(then: datetime) -> str:
    """How long ago it was, in the largest unit that fits: `3 minutes ago`."""
    seconds = max((datetime.now(UTC) - then).total_seconds(), 0)  # the warehouse's clock may be ahead of ours
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if count := int(seconds // size):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"


def moment(then: datetime) -> str:
    return f"{then:%d %b %Y %H:%M} UTC ({age(then)})"


def small(text: str) -> None:
    """Like st.caption, whose grey is too pale to read: 3.9 to 1."""
    st.markdown(f":small[{text}]")


def pick(label: str, values: Sequence[Any]) -> list[Any]:
    """A filter; nothing chosen means everything."""
    options = sorted({value for value in values if value is not None})
    return st.multiselect(label, options, placeholder="all", key=f"filter {label}")


def _try(view: View, environment: str, query: Query) -> Answer | click.ClickException:
    try:
        return view.run(environment, query)
    except click.ClickException as error:
        return error


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Decimals as floats, which charts take. A cent is exact up to 90 trillion."""
    numbers = {name: float for name, column in rows.items() if any(type(one).__name__ == "Decimal" for one in column)}
    return rows.astype(numbers)
