"""Dashboards on the marts: `make dashboard`."""

import os
from contextlib import suppress
from pathlib import Path

import click
import edtech
import retail
import streamlit as st
import trust
from dotenv import load_dotenv
from panel import View, age, small

from meshflow.serve import ENVIRONMENTS, State, Warehouse, environments, warehouses

load_dotenv(".env", override=True)  # as SQLMesh does: what stands there wins over the environment

NOTHING = """
**There is no warehouse to look at yet.** Build one, and reload this page:

- `make dev` builds the sample,
- `make demo` loads live data,
- `.env` names an account on Snowflake, see `docs/runbooks/snowflake-account.md`.
"""


@st.cache_resource
def known(data: Path, files: frozenset[str]) -> dict[str, Warehouse]:  # noqa: ARG001 - a new file, a new answer
    """One of each for all sessions: they share a connection."""
    return warehouses(data)


def choose_warehouse() -> Warehouse | None:
    data = Path(os.environ.get("MESHFLOW_DATA", "data"))
    found = known(data, frozenset(file.name for file in data.glob("*_analytics.duckdb")))
    if not found:
        return None
    with st.sidebar:
        gateway = st.selectbox("Warehouse", list(found), format_func=lambda name: found[name].title, key="warehouse")
    return found[gateway]


def choose_environments(warehouse: Warehouse, state: State) -> View:
    """Raises click.ClickException if there is none, or nobody answers."""
    built = environments(View(warehouse, state, ()).run("prod", ENVIRONMENTS).rows)
    if not built:
        raise click.ClickException("Nothing is built here yet: `sqlmesh plan prod` or `sqlmesh plan dev` does it.")
    with st.sidebar:
        # With keys, or a choice would be forgotten as soon as somebody builds an environment more.
        first = st.selectbox("Environment", built, key="environment")
        others = [environment for environment in built if environment != first]
        second = st.selectbox("Compare with", others, index=None, placeholder="nothing", key="compare")
    return View(warehouse, state, (first, second) if second else (first,))


@st.fragment(run_every="30s")
def watch(warehouse: Warehouse, shown: str) -> None:
    """How old what is shown is, and the page anew when there is another state than the one shown."""
    try:
        state = warehouse.now()
    except click.ClickException as error:
        st.info(error.message)
        return
    if state.version != shown:
        st.rerun()
    if state.note:
        st.info(state.note)
    if state.copy:
        small(f"The warehouse was last written {age(state.copy.written_at)}.")
    else:
        small("Answers are at most ten minutes old.")


def main() -> None:
    st.set_page_config("meshflow", layout="wide")
    warehouse, state, view, problem = choose_warehouse(), None, None, ""
    if warehouse:
        with suppress(click.ClickException), st.spinner("Copying what is new …"):  # watch says why not
            state = warehouse.now()
    if warehouse and state:
        try:
            view = choose_environments(warehouse, state)
        except click.ClickException as error:
            problem = error.message
    pages = {"Retail": retail.page, "EdTech": edtech.page, "Trust": trust.page}

    def show(title: str) -> None:
        st.title(title)
        if not warehouse:
            st.info(NOTHING)
            return
        watch(warehouse, state.version if state else "")
        if problem:
            st.info(problem)
        if view:
            try:
                pages[title](view)
            except click.ClickException as error:
                st.warning(error.message)

    st.navigation(
        [
            st.Page(lambda title=title: show(title), title=title, url_path=title.lower(), default=title == "Retail")
            for title in pages
        ],
        position="top",
    ).run()


main()
