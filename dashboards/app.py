"""Dashboards on the marts: `make dashboard`."""

import os
from pathlib import Path

import click
import edtech
import retail
import streamlit as st
import trust
from dotenv import load_dotenv
from panel import View, age, small

from meshflow.serve import Published, Warehouse, warehouses

load_dotenv(".env", override=True)  # as SQLMesh does: what stands there wins over the environment

NOTHING = """
**There is no warehouse to look at yet.** Build one, and reload this page:

- `make dev` builds the sample,
- `make demo` lands live data,
- `.env` names an account on Snowflake, see `docs/runbooks/snowflake-account.md`.
"""


@st.cache_resource
def known(data: Path, files: frozenset[str]) -> dict[str, Warehouse]:  # noqa: ARG001 - a new file, a new answer
    """One of each for all sessions: a connection, and a copy."""
    return warehouses(data)


def choose() -> View | None:
    """What the sidebar says to look at; None, and a message, if there is nothing."""
    data = Path(os.environ.get("MESHFLOW_DATA", "data"))
    found = known(data, frozenset(file.name for file in data.glob("*_analytics.duckdb")))
    if not found:
        st.info(NOTHING)
        return None
    with st.sidebar:
        gateway = st.selectbox("Warehouse", list(found), format_func=lambda gateway: found[gateway].title)
    warehouse = found[gateway]
    if isinstance(warehouse, Published):
        with st.spinner("Copying what is new …"):
            warehouse.refresh()
    try:
        environments = warehouse.environments()
    except click.ClickException as error:
        st.info(error.message)
        return None
    if not environments:
        st.info("Nothing is built here yet: `sqlmesh plan prod` or `sqlmesh plan dev` does it.")
        return None
    with st.sidebar:
        first = st.selectbox("Environment", environments)
        others = [environment for environment in environments if environment != first]
        second = st.selectbox("Compare with", others, index=None, placeholder="nothing")
    return View(warehouse, (first, second) if second else (first,))


@st.fragment(run_every="30s")
def watch(warehouse: Warehouse) -> None:
    """How old what is shown is, and the page anew when there is something newer."""
    if not isinstance(warehouse, Published):
        small("Answers are asked for again after ten minutes.")
        return
    shown = warehouse.version
    try:
        warehouse.refresh()
    except click.ClickException as error:
        st.warning(error.message)
        return
    if warehouse.version != shown:
        st.rerun()
    if warehouse.is_busy:
        st.info("A plan or a run is at work. What you see is the warehouse as it was before.")
    if warehouse.copy:
        small(f"The warehouse was last written {age(warehouse.copy.written_at)}.")


def main() -> None:
    st.set_page_config("meshflow", layout="wide")
    view = choose()
    pages = {"Retail": retail.page, "EdTech": edtech.page, "Trust": trust.page}

    def show(title: str) -> None:
        st.title(title)
        if view:
            watch(view.warehouse)
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
