"""SQLMesh's own UI in Chromium, started by `make ui`."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect
from serving import serving

MART = "retail.rpt_net_revenue_by_city"
EVERY_GATEWAY = {
    "MESHFLOW_STATE_HOST": "nowhere.invalid",
    "MESHFLOW_STATE_USER": "sqlmesh",
    "MESHFLOW_STATE_PASSWORD": "emulated",
    "MESHFLOW_STATE_DATABASE": "sqlmesh",
    "MESHFLOW_SNOWFLAKE_ACCOUNT": "nowhere",
    "MESHFLOW_SNOWFLAKE_USER": "NOBODY",
    "MESHFLOW_SNOWFLAKE_TOKEN": "emulated",
}
"""As in .env after `make demo` and with an account on Snowflake. The UI connects to neither."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("ui") / "ui.log"
    with serving(lambda port: ["make", "ui", f"PORT={port}"], "/health", log, EVERY_GATEWAY) as address:
        yield address


def open_mart(page: Page, address: str) -> None:
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_placeholder("Search").fill(MART)
    page.get_by_role("menuitem").filter(has_text=MART).click()
    expect(node(page, "RETAIL", "RPT_NET_REVENUE_BY_CITY")).to_be_attached(timeout=60_000)


def node(page: Page, schema: str, table: str, catalog: str = "ANALYTICS") -> Locator:
    """A table in the lineage graph, which may be scrolled out of view."""
    return page.locator(f".react-flow__node[data-id='%22{catalog}%22.%22{schema}%22.%22{table}%22']")


def test_lineage_of_a_mart_reaches_the_loaded_table(page: Page, address: str) -> None:
    open_mart(page, address)
    expect(node(page, "STAGING", "STG_RETAIL__SALES")).to_contain_text("staging.stg_retail__sales")
    expect(node(page, "RETAIL", "SALES", "RAW")).to_contain_text("raw.retail.sales")


def test_lineage_of_a_column_reaches_the_loaded_column(page: Page, address: str) -> None:
    open_mart(page, address)
    mart = node(page, "RETAIL", "RPT_NET_REVENUE_BY_CITY")
    mart.get_by_placeholder("Filter items").fill("NET_REVENUE")
    mart.get_by_text("NET_REVENUE_AMOUNT", exact=True).click()
    arrow = page.get_by_test_id(re.compile("SALES%22__PRICE__left__.*STG_RETAIL__SALES%22__UNIT_PRICE_AMOUNT$"))
    expect(arrow).to_be_attached(timeout=60_000)
