"""SQL: queries that people write on the marts of an environment. Saved queries are files in the folder `queries`."""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import altair as alt
import charts
import click
import pandas as pd
import streamlit as st
from charts import Measure
from panel import Draw, View, caption, is_number, show_panel
from sqlmesh.core.dialect import parse
from status import show_status

from meshflow.publish import SERVED
from meshflow.readonly import ALLOWED_FUNCTIONS, LONGEST, ROW_LIMIT, check
from meshflow.serve import TIME_LIMIT_SECONDS, Query

QUERIES, MODELS = Path(__file__).parent / "queries", Path(__file__).parents[1] / "models"
BARS = 50
"""Bars in a chart."""


@dataclass(frozen=True)
class SavedQuery:
    """A file whose first line is a comment with its title."""

    title: str
    sql: str

    @classmethod
    def of(cls, file: Path) -> "SavedQuery":
        sql = file.read_text(encoding="utf-8").strip()
        return cls(sql.partition("\n")[0].removeprefix("--").strip(), sql)


def page(view: View) -> None:
    saved = {file.stem: SavedQuery.of(file) for file in sorted(QUERIES.glob("*.sql"))}
    if "sql" not in st.session_state and "sql" not in st.query_params:
        st.session_state["sql"] = next(iter(saved.values())).sql

    def open_saved() -> None:
        if chosen := st.session_state["saved"]:
            st.session_state["sql"] = saved[chosen].sql

    st.selectbox(
        "Saved queries",
        saved,
        index=None,
        placeholder="open one",
        format_func=lambda name: saved[name].title,
        key="saved",
        on_change=open_saved,
    )
    sql = st.text_area("SQL", key="sql", bind="query-params", height=220, max_chars=LONGEST)
    left, right = st.columns([1, 5], vertical_alignment="center")
    left.button("Run")  # leaving the text runs it, too
    with right:
        caption(
            f"One SELECT in Snowflake's dialect, on the tables below. At most {ROW_LIMIT:,} rows and "
            f"{TIME_LIMIT_SECONDS} s. The link in the address bar has the query."
        )
    try:
        query = check(sql)
    except click.ClickException as error:
        st.warning(error.message)
    else:
        show_status(view, query.tables)
        _show_results(view, query)
    _show_tables()


def _show_results(view: View, query: Query) -> None:
    first = view.run(view.environments[0], query)
    if first.columns.has_duplicates:
        st.warning("Two columns have one name. Name them with AS.")
        return
    draw = _choose_chart(first)
    for environment in view.environments:
        rows = view.run(environment, query)
        is_cut = len(rows) > ROW_LIMIT
        show_panel(
            replace(view, environments=(environment,)),
            "Result" if len(view.environments) == 1 else f"Result in {environment}",
            query,
            draw,
            prepare=lambda found: found.head(ROW_LIMIT),
            limit=BARS if draw else None,
            note=f"The first {ROW_LIMIT:,} rows. There are others." if is_cut else f"{len(rows):,} rows.",
            empty="The query returned no rows.",
        )


def _choose_chart(rows: pd.DataFrame) -> Draw | None:
    """None for a table."""
    numbers = [str(name) for name, column in rows.items() if is_number(column)]
    if rows.empty or not numbers or len(rows.columns) == 1:
        return None
    kind, across, up = st.columns(3)
    with kind:
        chosen = st.selectbox("Show as", ("table", "bars", "line"), key="as", bind="query-params")
    if chosen == "table":
        return None
    x = across.selectbox("X", list(rows.columns), key="x", bind="query-params")
    y = up.selectbox("Y", numbers, index=len(numbers) - 1, key="y", bind="query-params")
    is_dated = all(isinstance(value, date) for value in rows[x])
    if rows[x].duplicated().any() or (chosen == "line" and not is_dated):
        st.info(f"A {'line needs a date' if chosen == 'line' else 'bar needs a value'} of its own for each row in X.")
        return None
    unit = "USD" if "usd" in y or "amount" in y else "rows" if all(one == int(one) for one in rows[y].dropna()) else ""

    def draw(found: pd.DataFrame, scale_max: float) -> alt.LayerChart:  # noqa: ARG001 - of one environment
        # Names of columns are people's text: charts get their own.
        drawn = found.assign(x=found[x], y=found[y].astype(float), series=y, is_partial=False)
        measure, largest = Measure(y, "y", unit), float(drawn["y"].max())
        if chosen == "line":
            return charts.line(drawn, largest, time="x", measure=measure, series="series")
        return charts.bars(drawn.assign(x=drawn["x"].map(str)), largest, by="x", measure=measure)

    return draw


def _show_tables() -> None:
    st.header("Tables")
    described = _descriptions()
    name = st.selectbox("Table", list(SERVED), key="described", bind="query-params")
    description, columns = described.get(name, ("", {}))
    st.text(description)
    listed = pd.DataFrame({"column": SERVED[name], "description": [columns.get(one, "") for one in SERVED[name]]})
    st.dataframe(listed, hide_index=True, alt=f"Columns of {name}", key=f"columns of {name}")
    with st.expander("Functions"):
        st.text(", ".join(sorted(one.sql_name() for one in ALLOWED_FUNCTIONS)))


@st.cache_data(show_spinner="Reading the descriptions of tables …")
def _descriptions() -> dict[str, tuple[str, dict[str, str]]]:
    """By served table its description, and its columns'; from the models' files."""
    found = {}
    for name in SERVED:
        model, *_, query = parse(MODELS.joinpath(*name.split(".")).with_suffix(".sql").read_text(), "snowflake")
        properties = {one.name: one.args["value"] for one in model.expressions}
        columns = {one.alias_or_name: " ".join(one.comments or ()).strip() for one in query.selects}
        found[name] = (properties["description"].name, columns)
    return found
