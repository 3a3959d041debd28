"""Dashboards on the marts: `make dashboard`."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
import data_quality
import edtech
import retail
import runs
import sql
import streamlit as st
from panel import View, caption

from meshflow.environment import load_env
from meshflow.serve import ENVIRONMENTS, State, Warehouse, environments, warehouses

PAGES = {
    "Retail": retail.page,
    "EdTech": edtech.page,
    "Data quality": data_quality.page,
    "Runs": runs.page,
    "Queries": sql.page,
}
NO_WAREHOUSE = """
**No warehouse found.** Build or configure one, and reload this page:

- `make dev` builds the sample,
- `make demo` loads live data,
- `.env` configures an account on Snowflake, see `docs/runbooks/snowflake-account.md`.
"""


@st.cache_resource
def cached_warehouses(data: Path, files: frozenset[str]) -> dict[str, Warehouse]:  # noqa: ARG001 - cache key
    """One instance per warehouse: all sessions share its connection."""
    return warehouses(data)


def choose_warehouse() -> Warehouse | None:
    data = Path(os.environ.get("MESHFLOW_DATA") or "data")
    found = cached_warehouses(data, frozenset(file.name for file in data.glob("*_analytics.duckdb")))
    if not found:
        return None
    with st.sidebar:
        gateway = st.selectbox(
            "Warehouse",
            list(found),
            format_func=lambda name: found[name].title,
            key="warehouse",
            bind="query-params",
        )
    return found[gateway]


def choose_environments(warehouse: Warehouse, state: State) -> View:
    """Raises click.ClickException if there is none, or the warehouse can't be reached."""
    built = environments(View(warehouse, state, ()).run("prod", ENVIRONMENTS))
    if not built:
        raise click.ClickException("No environment is built yet: run `sqlmesh plan prod` or `sqlmesh plan dev`.")
    with st.sidebar:
        # Without keys, a selection would be reset when the list of environments changes.
        first = st.selectbox("Environment", built, key="environment", bind="query-params")
        others = [environment for environment in built if environment != first]
        second = st.selectbox(
            "Compare with", others, index=None, placeholder="nothing", key="compare", bind="query-params"
        )
    return View(warehouse, state, (first, second) if second else (first,))


@st.fragment(run_every="30s")
def watch(warehouse: Warehouse, shown_version: str) -> None:
    """Rerun the page when the warehouse has a newer state, and say if it can't be read."""
    try:
        state = warehouse.now()
    except click.ClickException as error:
        st.info(error.message)
        return
    if state.version != shown_version:
        st.rerun()
    if state.note:
        st.info(state.note)
    if not state.snapshot:
        caption("Results are at most ten minutes old.")


def main() -> None:
    st.set_page_config("meshflow", layout="wide")
    try:
        load_env()
    except click.ClickException as error:
        st.error(error.message)
        return
    warehouse, state, view, problem = choose_warehouse(), None, None, ""
    if warehouse:
        with suppress(click.ClickException), st.spinner("Copying the warehouse …"):  # watch shows the error
            state = warehouse.now()
    if warehouse and state:
        try:
            view = choose_environments(warehouse, state)
        except click.ClickException as error:
            problem = error.message

    def show(title: str) -> None:
        st.title(title)
        if not warehouse:
            st.info(NO_WAREHOUSE)
            return
        with st.container():  # one element, with or without a note
            watch(warehouse, state.version if state else "")
        if problem:
            st.info(problem)
        if view:
            try:
                PAGES[title](view)
            except click.ClickException as error:
                st.warning(error.message)

    navigate(show)


def navigate(show: Callable[[str], None]) -> None:
    """Links to all pages, and the one that is selected. A phone shows Streamlit's own navigation behind a button."""
    links = [
        st.Page(
            lambda title=title: show(title),
            title=title,
            url_path=title.lower().replace(" ", "_"),
            default=title == "Retail",
        )
        for title in PAGES
    ]
    page = st.navigation(links, position="hidden")
    with st.container(horizontal=True):
        for link in links:
            st.page_link(link)
    page.run()


main()
