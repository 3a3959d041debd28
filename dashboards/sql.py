"""Queries: what files in the folder `queries` answer, a person's own SQL, and which tables dashboards read."""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import altair as alt
import charts
import click
import pandas as pd
import streamlit as st
from charts import Measure
from panel import Draw, View, caption, is_number, reading, show_panel
from sqlmesh.core.dialect import parse
from status import show_status

from meshflow.publish import SERVED
from meshflow.serve import ROW_LIMIT, TIME_LIMIT_SECONDS, Query

QUERIES, MODELS = Path(__file__).parent / "queries", Path(__file__).parents[1] / "models"
OWN = "own"
"""Instead of the name of a saved query."""
LONGEST = 4000
"""Characters of SQL: it is part of the URL."""
BARS = 50
"""Bars in a chart."""


@dataclass(frozen=True)
class SavedQuery:
    """A file whose first line is a comment with its title. Those after it say what it counts."""

    title: str
    note: str
    sql: str

    @classmethod
    def of(cls, file: Path) -> "SavedQuery":
        lines = file.read_text(encoding="utf-8").strip().splitlines()
        title, *notes = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
        return cls(title, " ".join(notes), "\n".join(line for line in lines if not line.startswith("--")))


def page(view: View) -> None:
    saved = {file.stem: SavedQuery.of(file) for file in sorted(QUERIES.glob("*.sql"))}
    titles = {name: one.title for name, one in saved.items()} | {OWN: "Your own SQL"}
    name = st.selectbox("Query", list(titles), format_func=titles.__getitem__, key="query", bind="query-params")
    query = _own_query() if name == OWN else Query(saved[name].sql)
    if query:
        try:
            _show_results(view, query, "" if name == OWN else saved[name].note)
        except click.ClickException as error:
            st.warning(error.message)
    if name != OWN:
        with st.expander("SQL"):
            st.code(saved[name].sql, language="sql")
            st.button("Change", on_click=_change, args=(saved[name].sql,))
    _show_tables()


def _own_query() -> Query | None:
    """The person's own query once it was run. A link only shows it: whoever wrote it, its reader decides."""
    sql = st.text_area("SQL", key="sql", bind="query-params", height=220, max_chars=LONGEST)
    if st.button("Run", type="primary"):
        st.session_state["ran"] = sql
    caption(
        f"One SELECT in Snowflake's dialect on the tables below, of at most {ROW_LIMIT:,} rows and "
        f"{TIME_LIMIT_SECONDS} s. The address of the page contains it. A file in `dashboards/queries` saves it for all."
    )
    return Query(sql, is_own=True) if sql.strip() and st.session_state.get("ran") == sql else None


def _change(sql: str) -> None:
    st.session_state["query"], st.session_state["sql"], st.session_state["ran"] = OWN, sql, sql


def _show_results(view: View, query: Query, note: str) -> None:
    show_status(view, query.tables)
    if note:
        caption(note)
    with reading(query):
        first = view.run(view.environments[0], query)
    if first.columns.has_duplicates:
        raise click.ClickException("Two columns have the same name. Give them others with AS.")
    draw = _choose_chart(first)
    for environment in view.environments:
        rows = view.run(environment, query)
        show_panel(
            replace(view, environments=(environment,)),
            "Result" if len(view.environments) == 1 else f"Result in {environment}",
            query,
            draw,
            prepare=lambda found: found.head(ROW_LIMIT),
            note=f"The first {ROW_LIMIT:,} rows. There are more." if len(rows) > ROW_LIMIT else "",
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
    if chosen == "bars" and len(rows) > BARS:
        caption(f"The first {BARS} of {len(rows):,} are drawn. *Rows* has all of them.")
    unit = "USD" if "usd" in y or "amount" in y else "rows" if all(one == int(one) for one in rows[y].dropna()) else ""

    def draw(found: pd.DataFrame, scale_max: float) -> alt.LayerChart:  # noqa: ARG001 - of one environment
        drawn = found.assign(x=found[x], y=found[y].astype(float), series=y, is_partial=False)
        measure, largest = Measure(y, "y", unit), float(drawn["y"].max())
        if chosen == "line":
            return charts.line(drawn, largest, time="x", measure=measure, series="series")
        return charts.bars(drawn.head(BARS).assign(x=drawn["x"].map(str)), largest, by="x", measure=measure)

    return draw


def _show_tables() -> None:
    st.header("Tables")
    described = _descriptions()
    name = st.selectbox("Table", list(SERVED), key="described", bind="query-params")
    description, columns = described.get(name, ("", {}))
    st.text(description)
    listed = pd.DataFrame({"column": SERVED[name], "description": [columns.get(one, "") for one in SERVED[name]]})
    st.dataframe(listed, hide_index=True, alt=f"Columns of {name}", key=f"columns of {name}")


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
