"""The dashboards in Chromium. Expected figures come from SQL on the warehouse itself."""

import calendar
import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path
from shutil import copytree
from types import ModuleType
from typing import Literal
from urllib.parse import urlsplit

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect
from serving import IMAGES, ROOT, SCREENSHOTS, serving
from workspace import Workspace, plan, run_elsewhere

from meshflow.publish import SERVED
from meshflow.runs import RecordedContext
from meshflow.serve import Query

PAGES = {
    "Retail": "/",
    "EdTech": "/edtech",
    "Data quality": "/data_quality",
    "Runs": "/runs",
    "Queries": "/queries?as=bars",
}
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">![x](http://x.invalid) **=1+1**"
ORDER = (
    '99001,"<img src=x onerror=alert(1)>",'
    'Desk Lamp,Home,2,500.00,2026-10-30 12:00:00,5,9001,2026-10-30 11:00:00,0.1,0,"{}",Bizkaia,Spain,'
    "2026-10-30 12:00:00,2026-10-30 12:00:00,,,2026-10-31 00:00:00\n"
)
PERIOD = "order_date BETWEEN '2026-08-02' AND '2026-10-30'"
SALES = "{0} LEFT JOIN shared{1}.dim_location USING (location_id) LEFT JOIN retail{1}.dim_product USING (product_id)"


@pytest.fixture(scope="session")
def workspace(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Prod from the sample; dev with one more order, from a city with a hostile name."""
    workspace = built.clone(tmp_path_factory.mktemp("dashboards"))
    with (workspace.path / "seeds/retail/sales.csv").open("a", encoding="utf-8") as seed:
        seed.write(ORDER.format(HOSTILE.replace('"', '""')))
    with closing(workspace.context(kind=RecordedContext)) as context:
        context.run("prod", skip_janitor=True)
        plan(context, "dev")
    return workspace


@pytest.fixture(scope="session")
def address(workspace: Workspace) -> Iterator[str]:
    with dashboards(workspace.data) as address:
        yield address


def dashboards(data: Path) -> AbstractContextManager[str]:
    """Start the dashboards on a folder of databases, as `make dashboard` does, and yield their address."""
    streamlit = [sys.executable, "-m", "streamlit", "run", "dashboards/server.py", "--server.port"]
    settings = {"MESHFLOW_DATA": str(data)}
    return serving(lambda port: [*streamlit, str(port)], "/_stcore/health", data / "dashboards.log", settings)


def open_page(page: Page, address: str, title: str, path: str | None = None) -> None:
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page.goto(address + (PAGES[title] if path is None else path))
    expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
    settle(page)


def settle(page: Page) -> None:
    """Wait until the script has run, no element of the previous run is left, and each element's renderer is loaded."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)


@contextmanager
def rerun(page: Page) -> Iterator[None]:
    """Wait until the block's action has rerun the script, which starts some time after a click."""
    page.get_by_test_id("stApp").evaluate(
        "app => { window.reran = false; new MutationObserver(() => { window.reran = true })"
        ".observe(app, {attributeFilter: ['data-test-script-state']}) }"
    )
    yield
    page.wait_for_function("window.reran")
    settle(page)


def choose(page: Page, label: str, option: str) -> None:
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.fill(option)  # a click on an option that must be scrolled to would be lost
    with rerun(page):
        page.get_by_role("option", name=option, exact=True).click()
        if page.get_by_role("listbox").is_visible():  # a multiselect stays open; a selectbox would be cleared by Escape
            page.keyboard.press("Escape")


def select(page: Page, option: str) -> None:
    """One of a few options, which are all shown."""
    with rerun(page):
        page.get_by_test_id("stButtonGroup").get_by_text(option, exact=True).click()


def becomes(page: Page, read: Callable[[], object], expected: object) -> None:
    """Wait until an existing chart shows what is expected: Vega redraws some time after the script."""
    for _ in range(100):
        if read() == expected:
            return
        page.wait_for_timeout(100)
    assert read() == expected


def tile(page: Page, label: str, nth: int = 0) -> Locator:
    """The large figure with that label, of the first environment or the second."""
    name = page.get_by_test_id("stMetricLabel").get_by_text(label, exact=True)
    return page.get_by_test_id("stMetric").filter(has=name).nth(nth)


def metric(page: Page, label: str, nth: int = 0) -> str:
    return tile(page, label, nth).get_by_test_id("stMetricValue").inner_text()


def chart(page: Page, name: str) -> Locator:
    return page.locator(f"[data-testid=stVegaLiteChart][aria-label='{name}']")


def marks(page: Page, name: str, kind: str = "bar") -> list[dict[str, str]]:
    """The marks of a chart, from their labels for screen readers."""
    found = chart(page, name).locator(f"svg [aria-roledescription='{kind}']")
    expect(found).not_to_have_count(0)
    labels = found.evaluate_all("marks => marks.map(mark => mark.getAttribute('aria-label'))")
    return [dict(part.split(": ", 1) for part in label.split("; ") if ": " in part) for label in labels]


def figures(page: Page, name: str, by: str, unit: str) -> dict[str, Decimal]:
    return {mark[by]: Decimal(mark[unit]) for mark in marks(page, name)}


def drawn_revenue(page: Page, by: str, environment: str = "prod") -> dict[str, Decimal]:
    """Net revenue by country, category and others, as drawn."""
    column = by if by in {"category", "product"} else "location"
    return figures(page, f"Net revenue by {by}, USD, {environment}", column, "Net revenue, USD")


def downloaded(page: Page, panel: int) -> tuple[str, list[list[str]]]:
    """Name and rows, with the header, of the CSV of a panel whose rows are open, by its index on the page."""
    with page.expect_download() as download:
        # Enter, because a click would be lost while the expander is still opening: the button moves down.
        page.get_by_test_id("stExpander").nth(panel).get_by_role("button", name="Download as CSV").press("Enter")
    with Path(download.value.path()).open(newline="", encoding="utf-8") as file:
        return download.value.suggested_filename, list(csv.reader(file))


def rows(workspace: Workspace, query: str) -> list[tuple[object, ...]]:
    """The result of SQL on the warehouse itself."""
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{workspace.data}/local_analytics.duckdb' AS ANALYTICS (READ_ONLY)")
        connection.execute("USE ANALYTICS")
        return connection.execute(query).fetchall()


def totals(workspace: Workspace, where: str = "TRUE", environment: str = "") -> tuple[str, str, str]:
    """Net revenue, discount and orders of the page's default period, formatted as on the page."""
    sales = SALES.format(f"retail{environment}.fct_sales", environment)
    query = f"SELECT SUM(net_revenue_amount), SUM(total_discount_amount), COUNT(DISTINCT order_id) FROM {sales}"
    [(net, discount, orders)] = rows(workspace, f"{query} WHERE {PERIOD} AND {where}")
    return f"{net:,.2f} USD", f"{discount:,.2f} USD", f"{orders:,}"


def revenue(workspace: Workspace, by: str, where: str = "TRUE", environment: str = "") -> dict[str, Decimal]:
    sales = SALES.format(f"retail{environment}.fct_sales", environment)
    query = f"SELECT {by}, SUM(net_revenue_amount) FROM {sales} WHERE {PERIOD} AND {where} GROUP BY ALL"
    return {str(name): Decimal(str(amount)) for name, amount in rows(workspace, query)}


def shown(page: Page) -> tuple[str, str, str]:
    return metric(page, "Net revenue"), metric(page, "Discount"), metric(page, "Orders")


def picture(page: Page, name: str) -> None:
    """Save a screenshot of the entire page; CI uploads the folder."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size
    assert size
    height = page.get_by_test_id("stMain").evaluate("main => main.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": height})
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")
    page.set_viewport_size(size)


def test_retail_shows_the_figures_of_the_marts(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    assert shown(page) == totals(workspace)
    assert drawn_revenue(page, "country") == revenue(workspace, "country")
    assert drawn_revenue(page, "category") == revenue(workspace, "product_category")
    daily = f"SELECT order_date, SUM(net_revenue_amount) FROM retail.rpt_revenue_daily WHERE {PERIOD} GROUP BY ALL"
    drawn = {
        mark["day"]: Decimal(mark["Net revenue, USD"]) for mark in marks(page, "Net revenue by day, USD, prod", "point")
    }
    zeros = {f"{date(2026, 8, 2) + timedelta(days=day):%b %d, %Y}": Decimal(0) for day in range(90)}
    assert drawn == zeros | {f"{day:%b %d, %Y}": amount for day, amount in rows(workspace, daily)}
    picture(page, "retail")


def test_the_picture_of_the_readme_shows_figures_and_a_chart(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 1600})
    open_page(page, address, "Retail")
    expect(chart(page, "Net revenue by day, USD, prod")).to_be_in_viewport(ratio=0.9)
    page.screenshot(path=IMAGES / "dashboard.png", animations="disabled")


def test_retail_compares_a_period_with_the_previous_one(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    total = "SELECT SUM(net_revenue_amount) FROM retail.fct_sales WHERE order_date BETWEEN"
    [(current,)] = rows(workspace, f"{total} '2026-08-02' AND '2026-10-30'")
    [(previous,)] = rows(workspace, f"{total} '2026-05-04' AND '2026-08-01'")
    change = tile(page, "Net revenue").get_by_test_id("stMetricDelta")
    assert change.inner_text().strip() == f"{(current - previous) / previous:+.1%}"
    note = "2026-08-02 to 2026-10-30. Change since the previous period, 2026-05-04 to 2026-08-01."
    expect(page.get_by_text(note)).to_be_visible()
    with rerun(page):
        page.get_by_text("Show both periods over time").click()
    expect(chart(page, "Net revenue by day, USD, prod").get_by_text("previous period")).to_be_visible()
    drawn = marks(page, "Net revenue by day, USD, prod", "point")
    assert sum(Decimal(mark["Net revenue, USD"]) for mark in drawn if mark["period"] == "previous period") == previous
    months = {mark["day"][:3] for mark in drawn}
    assert months == {"Aug", "Sep", "Oct"}, "days of the previous period have the dates they are compared with"


def assert_september_beside_that_of_the_year_before(page: Page, workspace: Workspace, where: str) -> None:
    """The page shows net revenue of September 2026, last month in the sample, and its change."""
    total = f"SELECT SUM(net_revenue_amount) FROM {SALES.format('retail.fct_sales', '')} WHERE {where}"
    [(current,)] = rows(workspace, f"{total} AND order_date BETWEEN '2026-09-01' AND '2026-09-30'")
    [(earlier,)] = rows(workspace, f"{total} AND order_date BETWEEN '2025-09-01' AND '2025-09-30'")
    assert metric(page, "Net revenue") == f"{current:,.2f} USD"
    change = tile(page, "Net revenue").get_by_test_id("stMetricDelta")
    assert change.inner_text().strip() == f"{(current - earlier) / earlier:+.1%}"


def test_last_month_is_compared_with_the_same_month_of_the_year_before(
    page: Page, address: str, workspace: Workspace
) -> None:
    open_page(page, address, "Retail")
    select(page, "last month")
    select(page, "same period last year")
    choose(page, "Country", "Spain")
    assert_september_beside_that_of_the_year_before(page, workspace, "country = 'Spain'")
    expect(page.get_by_text("Change since the same period last year, 2025-09-01 to 2025-09-30.")).to_be_visible()


def test_other_days_are_picked_as_a_range_and_a_year_without_data_shows_no_change(
    page: Page, address: str, workspace: Workspace
) -> None:
    open_page(page, f"{address}/?period=other+days&period_days=2025-01-01&period_days=2025-12-31", "Retail", path="")
    query = f"SELECT SUM(net_revenue_amount) FROM retail.fct_sales WHERE {PERIOD}"
    days = "order_date BETWEEN '2025-01-01' AND '2025-12-31'"
    [(expected,)] = rows(workspace, query.replace(PERIOD, days))
    assert metric(page, "Net revenue") == f"{expected:,.2f} USD"
    expect(page.get_by_text("No data for the previous period, 2024-01-02 to 2024-12-31.")).to_be_visible()
    expect(page.get_by_test_id("stMetricDelta")).to_have_count(0)


def test_a_link_shows_a_colleague_the_same_view(page: Page, address: str, browser: Browser) -> None:
    """And a reload, and the way to another page and back."""
    open_page(page, address, "Retail")
    choose(page, "Environment", "dev")
    choose(page, "Compare with", "prod")
    select(page, "this month")
    choose(page, "Country", "Spain")
    choose(page, "Category", "Books")
    choose(page, "Measure", "Orders")
    drawn = "Orders by province / state, dev and prod"
    expected = shown(page), marks(page, drawn)

    def seen(other: Page) -> object:
        return shown(other), marks(other, drawn)

    link = page.url
    with closing(browser.new_context()) as context:
        colleague = context.new_page()
        open_page(colleague, link, "Retail", path="")
        assert seen(colleague) == expected
    page.reload()
    settle(page)
    assert seen(page) == expected
    for title in ("EdTech", "Retail"):
        with rerun(page):
            page.get_by_role("link", name=title, exact=True).click()
        expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
        settle(page)
    assert seen(page) == expected


def test_another_warehouse_has_the_period_of_its_own_data(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    copytree(workspace.data, tmp_path, dirs_exist_ok=True)
    live = tmp_path / "live_analytics.duckdb"
    live.write_bytes((tmp_path / "local_analytics.duckdb").read_bytes())
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{live}' AS ANALYTICS")
        connection.execute("USE ANALYTICS")
        connection.execute("CREATE TABLE older AS FROM RETAIL.FCT_SALES WHERE order_date < '2026-08-30'")
        connection.execute("CREATE OR REPLACE VIEW RETAIL.FCT_SALES AS FROM ANALYTICS.main.older")
    with dashboards(tmp_path) as address:
        open_page(page, address, "Retail")
        assert shown(page) != totals(workspace)
        choose(page, "Warehouse", "Sample data")
        assert shown(page) == totals(workspace)


def copy_with_empty_views(workspace: Workspace, data: Path, views: Iterable[str]) -> None:
    """Copy the warehouse to `data` and empty the given views there."""
    copytree(workspace.data, data, dirs_exist_ok=True)
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{data}/local_analytics.duckdb' AS ANALYTICS")
        connection.execute("USE ANALYTICS")
        for view in views:
            table = f"empty_{view.partition('.')[2]}"
            columns = ", ".join(SERVED[view.lower()])
            connection.execute(f"CREATE TABLE {table} AS SELECT {columns} FROM {view} LIMIT 0")
            connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM ANALYTICS.main.{table}")


def test_sales_without_location_and_product_are_counted_as_unknown(
    page: Page, workspace: Workspace, tmp_path: Path
) -> None:
    copy_with_empty_views(workspace, tmp_path, ("SHARED.DIM_LOCATION", "RETAIL.DIM_PRODUCT"))
    expected = totals(workspace)
    with dashboards(tmp_path) as address:
        open_page(page, address, "Retail")
        assert shown(page) == expected
        [bar] = marks(page, "Net revenue by country, USD, prod")
        assert (bar["location"], f"{Decimal(bar['Net revenue, USD']):,.2f} USD") == ("Unknown", expected[0])


def test_without_a_reconciliation_the_panel_names_the_command(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    copy_with_empty_views(workspace, tmp_path, ("OPS.SOURCE_RECONCILIATION",))
    with dashboards(tmp_path) as address:
        open_page(page, address, "Data quality")
        expect(page.get_by_text("Run meshflow reconcile to fill this.")).to_be_visible()


def test_filters_combine_and_drill_down_to_the_city(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    everything = shown(page)
    choose(page, "Country", "Spain")
    choose(page, "Category", "Books")
    where = "country = 'Spain' AND product_category = 'Books'"
    assert shown(page) == totals(workspace, where) != everything
    by_province = revenue(workspace, "province || ', ' || country", where)
    assert drawn_revenue(page, "province / state") == by_province
    by_category = revenue(workspace, "product_category", where)
    becomes(page, lambda: drawn_revenue(page, "category"), by_category)
    province = max(by_province, key=lambda name: by_province[name]).partition(",")[0]
    choose(page, "Province / state", province)
    where += f" AND province = '{province}'"
    by_city = revenue(workspace, "city || ', ' || province || ', ' || country", where)
    assert drawn_revenue(page, "city") == by_city
    assert shown(page) == totals(workspace, where)


def test_the_measure_changes_every_chart(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    choose(page, "Measure", "Orders")
    expect(chart(page, "Orders by country, prod")).to_be_visible()
    sales = SALES.format("retail.fct_sales", "")
    query = f"SELECT country, COUNT(DISTINCT order_id) FROM {sales} WHERE {PERIOD} GROUP BY country"
    orders = {str(country): Decimal(str(count)) for country, count in rows(workspace, query)}
    assert figures(page, "Orders by country, prod", "location", "Orders") == orders


def test_retail_shows_customers_units_and_averages_of_the_marts(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    [found] = rows(
        workspace,
        "SELECT SUM(total_revenue_amount), 100 * SUM(total_discount_amount) / SUM(total_revenue_amount), "
        "SUM(net_revenue_amount) / COUNT(DISTINCT order_id), SUM(quantity), COUNT(DISTINCT customer_id), "
        "(SELECT COUNT(*) FROM retail.dim_customer WHERE first_order_date BETWEEN '2026-08-02' AND '2026-10-30') "
        f"FROM retail.fct_sales WHERE {PERIOD}",
    )
    gross, rate, average, units, customers, new = found
    assert metric(page, "Gross revenue") == f"{gross:,.2f} USD"
    assert metric(page, "Discount rate") == f"{rate:.2f} %"
    assert metric(page, "Average order value") == f"{average:,.2f} USD"
    assert metric(page, "Units") == f"{units:,}"
    assert metric(page, "Customers") == f"{customers:,}"
    assert metric(page, "New customers") == f"{new:,}"
    assert metric(page, "Returning customers") == f"{int(str(customers)) - int(str(new)):,}"
    assert drawn_revenue(page, "product") == revenue(workspace, "product_name || ' · ' || product_id")


def test_revenue_is_shown_cumulative_and_as_an_average_over_days_with_and_without_sales(
    page: Page, address: str, workspace: Workspace
) -> None:
    shown_days = "date_day BETWEEN '2026-08-02' AND '2026-10-30'"
    daily = "SELECT order_date AS day, SUM(net_revenue_amount) AS amount FROM retail.fct_sales GROUP BY ALL"
    expected = rows(
        workspace,
        f"SELECT date_day, SUM(COALESCE(amount, 0)) FILTER ({shown_days}) OVER (ORDER BY date_day), "
        "AVG(COALESCE(amount, 0)) OVER (ORDER BY date_day ROWS 6 PRECEDING) "
        f"FROM shared.dim_date LEFT JOIN ({daily}) ON date_day = day QUALIFY {shown_days}",
    )
    open_page(page, address, "Retail")
    for column, way, title in ((1, "cumulative", "cumulative"), (2, "average of 7 days", "by day, average of 7 days")):
        choose(page, "Over time", way)
        drawn = marks(page, f"Net revenue {title}, USD, prod", "point")
        assert {mark["day"]: Decimal(mark["Net revenue, USD"]) for mark in drawn} == {
            f"{row[0]:%b %d, %Y}": round(Decimal(str(row[column])), 2) for row in expected
        }


def test_a_click_on_a_country_shows_its_provinces_and_one_on_a_product_its_order_lines(
    page: Page, address: str, workspace: Workspace
) -> None:
    open_page(page, address, "Retail")
    with rerun(page):
        click_bar(page, "Net revenue by country, USD, prod", "Spain")
    assert "country=Spain" in page.url
    by_province = revenue(workspace, "province || ', ' || country", "country = 'Spain'")
    assert drawn_revenue(page, "province / state") == by_province
    where = f"country = 'Spain' AND {PERIOD}"
    by_product = revenue(workspace, "product_name || ' · ' || product_id", where)
    becomes(page, lambda: drawn_revenue(page, "product"), by_product)
    product = max(by_product, key=lambda name: by_product[name])
    with rerun(page):
        click_bar(page, "Net revenue by product, USD, prod", product)
    expect(page.get_by_role("heading", name=f"Order lines of {product}")).to_be_visible()
    _, [header, *lines] = downloaded(page, -1)
    assert header == [
        "order_date", "order_id", "product", "category", "location", "units", "gross_revenue_usd", "discount_usd",
        "net_revenue_usd",
    ]  # fmt: skip
    sales = SALES.format("retail.fct_sales", "")
    product_id = product.rpartition(" · ")[2]
    expected = rows(
        workspace, f"SELECT order_id, net_revenue_amount FROM {sales} WHERE {where} AND product_id = {product_id}"
    )
    assert sorted((int(line[1]), Decimal(line[-1])) for line in lines) == sorted(expected)


COUNT_CLICKS = """addEventListener("click", event => {
    // Once each: a click on a label is one on its input, too.
    if (event.isTrusted && event.detail) sessionStorage.clicks = Number(sessionStorage.clicks || 0) + 1
}, {capture: true})"""


def clicks(page: Page) -> int:
    """The number of clicks since the last call, as the browser counts them."""
    return int(
        page.evaluate("() => { const found = sessionStorage.clicks; delete sessionStorage.clicks; return found }")
    )


def test_four_questions_are_answered_with_at_most_four_clicks(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    """The clicks are those of dashboards/README.md."""
    copytree(workspace.data, tmp_path, dirs_exist_ok=True)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    rejected = "'retail.sales' AS source_table, 'orphan_location' AS reject_reason, 'Add it' AS remedy"
    with closing(duckdb.connect(str(tmp_path / "local_analytics.duckdb"))) as connection:
        connection.execute(
            f"CREATE OR REPLACE VIEW OPS.REJECTED_ROWS AS SELECT {rejected}, 3 AS rejected_count, "
            f"DATE '{yesterday}' AS updated_date"
        )
    page.add_init_script(COUNT_CLICKS)
    with dashboards(tmp_path) as address:
        # Last month's net revenue of Québec against the year before.
        open_page(page, address, "Retail")
        select(page, "last month")
        select(page, "same period last year")
        for level, name in (("country", "Canada"), ("province / state", "Québec")):
            with rerun(page):
                click_bar(page, f"Net revenue by {level}, USD, prod", name)
        assert_september_beside_that_of_the_year_before(page, workspace, "province = 'Québec'")
        assert clicks(page) == 4

        # The best-selling category of the last seven days.
        open_page(page, address, "Retail")
        select(page, "last 7 days")
        drawn = marks(page, "Net revenue by category, USD, prod")
        [(best, *_), *_] = rows(
            workspace,
            f"SELECT product_category, SUM(net_revenue_amount) AS net FROM {SALES.format('retail.fct_sales', '')} "
            "WHERE order_date BETWEEN '2026-10-24' AND '2026-10-30' GROUP BY ALL ORDER BY net DESC",
        )
        assert drawn[0]["category"] == best
        assert clicks(page) == 1

        # Which rows were rejected yesterday, and why.
        open_page(page, address, "Retail")
        with rerun(page):
            page.get_by_role("link", name="Queries").click()
        choose(page, "Query", "Rejected rows of the last two days, with reasons")
        _, [_, line] = downloaded(page, 0)
        assert line == ["retail.sales", str(yesterday), "orphan_location", "3", "Add it"]
        assert clicks(page) <= 4

        # Whether last night's run worked.
        open_page(page, address, "Retail")
        with rerun(page):
            page.get_by_role("link", name="Runs").click()
        point = marks(page, "Duration of runs, seconds, prod", "point")[0]
        [(status, seconds)] = rows(
            workspace,
            "SELECT status, duration_seconds FROM ops.runs WHERE environment = 'prod' ORDER BY started_at DESC LIMIT 1",
        )
        assert (point["status"], Decimal(point["Duration, seconds"])) == (status, seconds)
        assert clicks(page) == 1


def click_bar(page: Page, name: str, by: str) -> None:
    bars = chart(page, name).locator("svg [aria-roledescription=bar]")
    labels = bars.evaluate_all("bars => bars.map(bar => bar.getAttribute('aria-label'))")
    [index] = [index for index, label in enumerate(labels) if f": {by}" in label]
    bars.nth(index).click()


def test_a_saved_query_shows_its_rows_as_a_table_and_as_bars_and_a_link_shows_them_to_a_colleague(
    page: Page, address: str, workspace: Workspace, browser: Browser
) -> None:
    open_page(page, address, "Queries", path="/queries")
    choose(page, "Query", "Best-selling categories of the last seven days")
    sql = (ROOT / "dashboards/queries/best_selling_categories_last_week.sql").read_text(encoding="utf-8")
    expected = [[str(one) for one in row] for row in rows(workspace, Query(sql).to_sql("prod", "duckdb"))]
    _, [header, *lines] = downloaded(page, 0)
    assert header == ["category", "units", "net_revenue_usd"]
    assert lines == expected
    choose(page, "Show as", "bars")
    with closing(browser.new_context()) as context:
        colleague = context.new_page()
        open_page(colleague, page.url, "Queries", path="")
        drawn = figures(colleague, "Result, prod", "x", "net_revenue_usd, USD")
        assert drawn == {category: Decimal(amount) for category, _, amount in expected}
        picture(colleague, "queries")


def test_the_page_of_queries_shows_their_sql_and_describes_the_tables(page: Page, address: str) -> None:
    open_page(page, address, "Queries", path="/queries")
    choose(page, "Query", "Slowest models of all recorded runs")
    page.get_by_text("SQL", exact=True).click()
    expect(page.locator("code.language-sql")).to_contain_text("FROM ops.model_runs")
    choose(page, "Table", "retail.fct_sales")
    expect(page.get_by_text("One row per order line sold.")).to_be_visible()


def write_sql(page: Page, sql: str) -> None:
    with rerun(page):
        page.get_by_role("textbox", name="SQL").fill(sql)
        page.get_by_role("textbox", name="SQL").press("Control+Enter")


def press_run(page: Page) -> None:
    with rerun(page):
        page.get_by_role("button", name="Run", exact=True).click()


def test_own_sql_is_answered_and_a_link_shows_it_to_a_colleague_who_decides_whether_it_runs(
    page: Page, address: str, workspace: Workspace, browser: Browser
) -> None:
    open_page(page, address, "Queries", path="/queries")
    choose(page, "Query", "Your own SQL")
    sql = (
        "SELECT country, SUM(net_revenue_amount) AS net_revenue_usd FROM retail.fct_sales "
        "JOIN shared.dim_location USING (location_id) GROUP BY country ORDER BY country"
    )
    write_sql(page, sql)
    press_run(page)
    expected = {str(country): Decimal(str(amount)) for country, amount in rows(workspace, sql)}
    _, [header, *lines] = downloaded(page, 0)
    assert header == ["country", "net_revenue_usd"]
    assert {country: Decimal(amount) for country, amount in lines} == expected
    choose(page, "Show as", "bars")
    picture(page, "own_sql")
    with closing(browser.new_context()) as context:
        colleague = context.new_page()
        open_page(colleague, page.url, "Queries", path="")
        assert colleague.get_by_role("textbox", name="SQL").input_value() == sql
        assert colleague.get_by_role("button", name="Download as CSV").count() == 0
        press_run(colleague)
        becomes(colleague, lambda: figures(colleague, "Result, prod", "x", "net_revenue_usd, USD"), expected)


def test_the_page_says_what_it_reads_while_it_does(page: Page, address: str) -> None:
    open_page(page, address, "Queries", path="/queries")
    choose(page, "Query", "Your own SQL")
    numbers = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 20000)"
    write_sql(page, f"{numbers} SELECT MAX(n) AS n FROM t, retail.fct_sales")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Reading retail.fct_sales …")).to_be_visible()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    settle(page)
    expect(page.get_by_text("Reading retail.fct_sales …")).to_have_count(0)


def test_a_saved_query_can_be_changed(page: Page, address: str) -> None:
    open_page(page, address, "Queries", path="/queries")
    choose(page, "Query", "Slowest models of all recorded runs")
    page.get_by_text("SQL", exact=True).click()
    with rerun(page):
        page.get_by_role("button", name="Change").click()
    text = page.get_by_role("textbox", name="SQL").input_value()
    assert "FROM ops.model_runs" in text
    _, [header, *_] = downloaded(page, 0)
    write_sql(page, f"SELECT COUNT(*) AS models FROM ({text})")
    expect(page.get_by_role("button", name="Download as CSV")).to_have_count(0)
    press_run(page)
    assert downloaded(page, 0)[1][0] == ["models"]
    assert header != ["models"]


def test_own_sql_reads_nothing_else_and_hostile_text_stays_text(page: Page, address: str) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    open_page(page, address, "Queries", path="/queries")
    choose(page, "Query", "Your own SQL")
    hostile, identifier = HOSTILE.replace("'", "''"), HOSTILE.replace('"', '""')
    for sql, message in (
        ("SELECT * FROM pii.student", "pii"),
        ("SELECT * FROM read_csv('/etc/passwd')", "file system operations are disabled"),
        ("DROP TABLE retail.fct_sales", "Write a single SELECT."),
        ("SELECT email FROM edtech.dim_student", "email"),
        (f"SELECT '{hostile}'::INT AS x", "Could not convert"),
        ("SELECT 1 AS x, 2 AS x", "Two columns have the same name."),
    ):
        write_sql(page, sql)
        press_run(page)
        expect(page.get_by_test_id("stAlert").filter(has_text=message)).to_be_visible()
        expect(page.get_by_role("button", name="Download as CSV")).to_have_count(0)
    write_sql(page, f"""SELECT '{hostile}' AS "{identifier}", 1 AS "<b>y</b>" """)
    press_run(page)
    choose(page, "Show as", "bars")
    expect(chart(page, "Result, prod").locator("svg [aria-roledescription=bar]")).to_have_count(1)
    assert page.locator("img[src=x]").count() == 0
    assert "hacked" not in page.title()
    assert not [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert page.get_by_test_id("stException").count() == 0


ENROLLED = "enrollment_date BETWEEN '2025-10-31' AND '2026-10-30'"


def test_edtech_shows_the_figures_of_the_marts(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "EdTech")
    enrolled = f"edtech.fct_enrollment JOIN edtech.dim_course USING (course_id) WHERE {ENROLLED}"
    [counts] = rows(
        workspace,
        "SELECT (SELECT COUNT(*) FROM edtech.dim_course), COUNT(*), COUNT(DISTINCT student_id), SUM(credits), "
        "COUNT_IF(course_status = 'Yet to Start'), COUNT_IF(is_active), COUNT_IF(course_status = 'Ended') "
        f"FROM {enrolled}",
    )
    labels = ("Courses", "Enrollments", "Students", "Credits", "… yet to start", "… ongoing", "… ended")
    assert [metric(page, label) for label in labels] == [f"{one:,}" for one in counts]
    courses = rows(workspace, "SELECT course_status, course_level, COUNT(*) FROM edtech.dim_course GROUP BY ALL")
    drawn = marks(page, "Courses by status and level, prod")
    assert {(mark["status"], mark["level"], int(mark["Courses"])) for mark in drawn} == set(courses)
    completion = rows(workspace, f"SELECT course_status, course_level, COUNT(*) FROM {enrolled} GROUP BY ALL")
    drawn = marks(page, "Enrollments by status of the course, prod")
    assert {(mark["status"], mark["level"], int(mark["Enrollments"])) for mark in drawn} == set(completion)
    credits_by_level = rows(workspace, f"SELECT course_level, SUM(credits) FROM {enrolled} GROUP BY ALL")
    assert figures(page, "Credits by level, prod", "level", "Credits") == dict(credits_by_level)
    ages = dict(rows(workspace, "SELECT age_band, student_count FROM edtech.rpt_students_by_age_band"))
    assert figures(page, "Students by age, prod", "age_band", "Students") == ages
    credits_ = rows(workspace, "SELECT total_credit_count, COUNT(*) FROM edtech.rpt_student_credits GROUP BY ALL")
    drawn_credits = figures(page, "Students by credits taken, prod", "credits", "Students")
    assert drawn_credits == {str(taken): count for taken, count in credits_}
    columns = ", ".join(f"{month.lower()}_enrollment_count" for month in calendar.month_name[1:])
    by_month = f"SELECT course_name, {columns} FROM edtech.rpt_course_enrollments_by_month WHERE enrollment_year = 2026"
    cells = marks(page, "Enrollments by course and month, 2026, prod", "rect mark")
    assert {(mark["course_name"], mark["month"]): int(mark["Enrollments"]) for mark in cells} == {
        (course, month): count
        for course, *months in rows(workspace, by_month)
        for month, count in zip(calendar.month_abbr[1:], months, strict=True)
    }
    [(until,)] = rows(workspace, "SELECT COUNT(*) FROM edtech.fct_enrollment WHERE enrollment_date <= '2026-10-30'")
    drawn = marks(page, "Cumulative enrollments, prod", "point")
    assert (len(drawn), int(drawn[-1]["Enrollments"])) == (365, until), "days without an enrollment too"
    picture(page, "edtech")


def test_a_cohort_is_the_students_of_a_sign_up_month_who_enroll_in_the_months_after(
    page: Page, address: str, workspace: Workspace
) -> None:
    open_page(page, address, "EdTech")
    students = "SELECT student_id, DATE_TRUNC('MONTH', enrollment_date) AS cohort FROM edtech.dim_student"
    expected = rows(
        workspace,
        "SELECT STRFTIME(cohort, '%Y-%m') || ' (' || (SELECT COUNT(*) FROM edtech.dim_student AS all_students "
        "WHERE DATE_TRUNC('MONTH', all_students.enrollment_date) = cohort) || ')', "
        "DATE_DIFF('MONTH', cohort, enrollment_date), COUNT(DISTINCT student_id), cohort "
        f"FROM ({students}) JOIN edtech.fct_enrollment USING (student_id) "
        "WHERE cohort BETWEEN '2025-10-01' AND '2026-10-30' AND enrollment_date BETWEEN cohort AND '2026-10-31' "
        "GROUP BY ALL",
    )
    assert expected
    name = "Students enrolled by month since sign-up, % of the cohort, prod"
    cells = {
        (mark["cohort"], int(mark["months_since_sign_up"])): Decimal(mark["Enrolled, %"])
        for mark in marks(page, name, "rect mark")
    }
    percents = {}
    for cohort, month, enrolled, _ in expected:
        size = int(str(cohort).partition("(")[2].rstrip(")"))
        percents[cohort, month] = round(Decimal(100 * int(str(enrolled))) / size, 2)
    assert {cell: percent for cell, percent in cells.items() if percent} == percents
    assert len(cells) > len(percents), "months without an enrollment are 0, those to come are empty"


def test_an_axis_ends_with_the_period_and_the_page_says_how_many_rows_lie_outside(
    page: Page, workspace: Workspace, tmp_path: Path
) -> None:
    copytree(workspace.data, tmp_path, dirs_exist_ok=True)
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{tmp_path}/local_analytics.duckdb' AS ANALYTICS")
        connection.execute("USE ANALYTICS")
        for table, column in (("EDTECH.FCT_ENROLLMENT", "enrollment_date"), ("RETAIL.FCT_SALES", "order_date")):
            days = ", ".join(f"(DATE '{day}')" for day in ("2000-01-01", "2000-01-02", "2099-12-31"))
            name = f"anomalies_{column}"
            connection.execute(
                f"CREATE TABLE {name} AS FROM {table} UNION ALL SELECT found.* REPLACE (anomalies.day AS {column}) "
                f"FROM (FROM {table} LIMIT 1) AS found CROSS JOIN (VALUES {days}) AS anomalies (day)"
            )
            connection.execute(f"CREATE OR REPLACE VIEW {table} AS FROM ANALYTICS.main.{name}")
    enrolled = "SELECT COUNT_IF(enrollment_date < '2025-10-31'), COUNT_IF(enrollment_date > '2026-10-30')"
    [(earlier, later)] = rows(workspace, f"{enrolled} FROM edtech.fct_enrollment")
    with dashboards(tmp_path) as address:
        open_page(page, address, "EdTech")
        outside = f"{earlier + 2:,} earlier and {later + 1:,} later enrollments of prod lie outside."
        expect(page.get_by_text(outside)).to_be_visible()
        drawn = marks(page, "Cumulative enrollments, prod", "point")
        assert (drawn[0]["day"], drawn[-1]["day"]) == ("Oct 31, 2025", "Oct 30, 2026")
        open_page(page, address, "Retail")
        assert shown(page) == totals(workspace)
        expect(page.get_by_text("1 order lines are dated after they were loaded")).to_be_visible()


def test_months_that_the_period_does_not_contain_to_the_day_are_marked(page: Page, address: str) -> None:
    open_page(page, f"{address}/?period=last+12+months", "Retail", path="")
    hollow = "Hollow points aren't complete: 2025-10-01, 2026-10-01. The period is 2025-10-31 to 2026-10-30."
    expect(page.get_by_text(hollow)).to_be_visible()
    page.get_by_test_id("stExpander").first.get_by_text("Rows").click()
    _, [header, *lines] = downloaded(page, 0)
    column = header.index("is_partial")
    assert [line[0] for line in lines if line[column] == "True"] == ["2025-10-01", "2026-10-01"]
    open_page(page, address, "EdTech")
    months = [mark["month"] for mark in marks(page, "Enrollments by month, prod")]
    assert {month for month in months if month.endswith("*")} == {"2025-10*", "2026-10*"}
    axis = chart(page, "Enrollments by month, prod").locator("[aria-label^='X-axis']").get_attribute("aria-label")
    assert "discrete scale with 13 values" in str(axis), "months without an enrollment are on the axis"


def test_levels_and_statuses_have_their_order_and_one_color_each(page: Page, address: str) -> None:
    open_page(page, address, "EdTech")
    for name in ("Courses by status and level, prod", "Enrollments by status of the course, prod"):
        svg = chart(page, name).locator("svg")
        labels = svg.locator(".role-axis-label text").all_text_contents()
        assert [label for label in labels if label[0].isalpha()] == ["Yet to Start", "Ongoing", "Ended"]
        legend = svg.locator(".role-legend-label text").all_text_contents()
        assert legend == [level for level in ("Beginner", "Intermediate", "Advanced") if level in legend]
        colors = {
            mark.get_attribute("aria-label").partition("level: ")[2].partition(";")[0]: mark.get_attribute("fill")
            for mark in svg.locator("[aria-roledescription=bar]").all()
        }
        expected = {"Beginner": "#009E73", "Intermediate": "#0072B2", "Advanced": "#E69F00"}
        assert colors == {level: color for level, color in expected.items() if level in colors}


def test_locations_have_their_full_names_and_axes_short_numbers(page: Page, address: str) -> None:
    open_page(page, f"{address}/?country=Canada&province=British+Columbia", "Retail", path="")
    texts = chart(page, "Net revenue by city, USD, prod").locator("svg text").all_text_contents()
    names = [mark["location"] for mark in marks(page, "Net revenue by city, USD, prod")]
    assert names
    assert set(names) <= set(texts)
    open_page(page, address, "Retail")
    ticks = chart(page, "Net revenue by country, USD, prod").locator(".role-axis-label text").all_text_contents()
    assert {"0", "5k", "10k", "15k"} <= set(ticks)


def test_edtech_filters_change_figures_and_charts(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "EdTech")
    choose(page, "Level", "Beginner")
    choose(page, "Status", "Ended")
    where = "course_level = 'Beginner' AND course_status = 'Ended'"
    [(courses,)] = rows(workspace, f"SELECT COUNT(*) FROM edtech.dim_course WHERE {where}")
    enrolled = "SELECT COUNT(*) FROM edtech.fct_enrollment JOIN edtech.dim_course USING (course_id)"
    [(enrollments,)] = rows(workspace, f"{enrolled} WHERE {where} AND {ENROLLED}")
    [(until,)] = rows(workspace, f"{enrolled} WHERE {where} AND enrollment_date <= '2026-10-30'")
    assert (metric(page, "Courses"), metric(page, "Enrollments")) == (f"{courses}", f"{enrollments:,}")
    becomes(
        page,
        lambda: [
            (mark["status"], mark["level"], int(mark["Courses"]))
            for mark in marks(page, "Courses by status and level, prod")
        ],
        [("Ended", "Beginner", courses)],
    )
    becomes(page, lambda: int(marks(page, "Cumulative enrollments, prod", "point")[-1]["Enrollments"]), until)


def test_data_quality_shows_the_counts_of_ops_and_filters_them(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Data quality")
    names = ("loaded", "accepted", "deleted", "rejected", "missing")
    sums = ", ".join(f"SUM({name}_count)" for name in names)
    total = f"SELECT {sums} FROM ops.row_reconciliation WHERE updated_date BETWEEN '2025-10-31' AND '2026-10-30'"
    [expected] = rows(workspace, total)
    assert [metric(page, f"Rows {name}") for name in names] == [f"{one:,}" for one in expected]
    drawn = marks(page, "Rows by month and outcome, prod")
    assert sum(int(mark["Rows"]) for mark in drawn if mark["outcome"] == "accepted") == expected[1]
    rejected = rows(
        workspace,
        "SELECT reject_reason || ' · ' || source_table, SUM(rejected_count) FROM ops.rejected_rows "
        "WHERE updated_date BETWEEN '2025-10-31' AND '2026-10-30' GROUP BY ALL",
    )
    assert figures(page, "Rejected rows by reason, prod", "reject_reason", "Rejected rows") == dict(rejected)
    rates = rows(
        workspace,
        "SELECT STRFTIME(updated_date, '%Y-%m'), ROUND(100 * SUM(rejected_count) / SUM(loaded_count), 2) "
        "FROM ops.row_reconciliation WHERE updated_date BETWEEN '2025-10-31' AND '2026-10-30' GROUP BY 1",
    )
    assert metric(page, "Rejected rows") == f"{100 * expected[3] / expected[0]:.2f} %"
    drawn = marks(page, "Rejected rows by month, % of rows loaded, prod")
    drawn_rates = {mark["month"].removesuffix("*"): Decimal(mark["Rejected rows, %"]) for mark in drawn}
    assert drawn_rates == {month: Decimal(str(rate)) for month, rate in rates}
    picture(page, "data_quality")

    choose(page, "Table", "retail.sales")
    [expected] = rows(workspace, f"{total} AND source_table = 'retail.sales'")
    assert [metric(page, f"Rows {name}") for name in names] == [f"{one:,}" for one in expected]
    of_sales = {reason: count for reason, count in rejected if str(reason).endswith(" · retail.sales")}
    becomes(page, lambda: figures(page, "Rejected rows by reason, prod", "reject_reason", "Rejected rows"), of_sales)


@pytest.fixture(scope="module")
def live(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of dashboards on the same rows as live data."""
    data = tmp_path_factory.mktemp("live")
    (data / "live_analytics.duckdb").write_bytes((workspace.data / "local_analytics.duckdb").read_bytes())
    with dashboards(data) as address:
        yield address


@pytest.mark.parametrize("title", ["Retail", "EdTech", "Data quality"])
def test_every_figure_shows_its_tables_and_how_far_they_are_processed(
    page: Page, live: str, workspace: Workspace, title: str
) -> None:
    open_page(page, live, title)
    origins = page.get_by_text(
        re.compile(r"^From \w+\.\w+.* in prod, processed until \d\d \w+ 20\d\d \d\d:\d\d UTC \(")
    )
    panels = page.get_by_role("heading", level=2).count()
    assert origins.count() == panels + 1, "one for each panel and one for the totals"
    tables = re.findall(r"\w+\.\w+", origins.first.inner_text().partition(" in prod")[0])
    names = ", ".join(f"'{table}'" for table in tables)
    query = f"SELECT MIN(processed_until) FROM ops.model_freshness WHERE environment = 'prod' AND model IN ({names})"
    [(until,)] = rows(workspace, query)
    assert f"processed until {until:%d %b %Y %H:%M} UTC" in origins.first.inner_text()


def test_the_page_of_runs_shows_runs_their_models_and_the_audits_that_found_rows(
    page: Page, address: str, workspace: Workspace
) -> None:
    open_page(page, address, "Runs")
    choose(page, "Environment", "dev")
    [(run_id, status, seconds)] = rows(
        workspace, "SELECT run_id, status, duration_seconds FROM ops.runs WHERE environment = 'dev'"
    )
    [point] = marks(page, "Duration of runs, seconds, dev", "point")
    assert (point["status"], Decimal(point["Duration, seconds"])) == (status, seconds)
    slowest = rows(
        workspace,
        f"SELECT model, duration_seconds FROM ops.model_runs WHERE run_id = '{run_id}' "
        "ORDER BY duration_seconds DESC, model LIMIT 15",
    )
    assert figures(page, "Models of this run, seconds, dev", "model", "Duration, seconds") == dict(slowest)
    found = rows(
        workspace,
        f"SELECT audit, model, query FROM ops.audit_results WHERE run_id = '{run_id}' AND row_count > 0 "
        "ORDER BY is_blocking DESC, row_count DESC, model, audit",
    )
    assert found
    titles = [f"{audit} on {model}: 1 rows, warned" for audit, model, _ in found]
    for title, (_, _, query) in zip(titles, found, strict=True):
        expander = page.get_by_test_id("stExpander").filter(has_text=title)
        expect(expander).not_to_have_count(0)
        assert len(rows(workspace, str(query))) == 1
    expect(page.get_by_text("No load is recorded. Sample data are not loaded.")).to_have_count(2)
    picture(page, "runs")


def test_csv_contains_the_rows_shown(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    page.get_by_test_id("stExpander").nth(1).get_by_text("Rows").click()
    name, lines = downloaded(page, 1)
    assert name == "net_revenue_by_country_usd_prod.csv"
    assert lines[0][:4] == ["location", "net_revenue_usd", "gross_revenue_usd", "discount_usd"]
    assert {line[0]: Decimal(line[1]) for line in lines[1:]} == revenue(workspace, "country")


def test_data_quality_shows_the_tables_and_reasons_of_ops(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Data quality")
    freshness = (
        "SELECT source_table, last_loaded_at, last_updated_at, days_since_loaded, row_count, active_row_count "
        "FROM ops.table_freshness ORDER BY source_table"
    )
    reconciliation = (
        "SELECT source_table, SUM(source_count), SUM(raw_count), SUM(missing_in_raw_count), "
        "SUM(missing_in_source_count), COUNT(*) FILTER (NOT is_equal), SUM(missing_count), MAX(counted_at) "
        "FROM ops.source_reconciliation GROUP BY source_table ORDER BY source_table"
    )
    for panel, query in ((-2, freshness), (-1, reconciliation)):
        _, [_, *lines] = downloaded(page, panel)
        assert lines == [[str(value) for value in row] for row in rows(workspace, query)]
    reasons = (
        "SELECT STRFTIME(updated_date, '%Y-%m'), reject_reason, SUM(rejected_count) FROM ops.rejected_rows "
        "WHERE updated_date BETWEEN '2025-10-31' AND '2026-10-30' GROUP BY ALL"
    )
    cells = marks(page, "Rejected rows by reason and month, prod", "rect mark")
    assert {(mark["month"].removesuffix("*"), mark["reject_reason"]): int(mark["Rejected rows"]) for mark in cells} == {
        (month, reason): count for month, reason, count in rows(workspace, reasons)
    }


def test_another_environment_shows_its_own_figures(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    in_prod, in_dev = totals(workspace), totals(workspace, environment="__dev")
    assert in_prod != in_dev
    choose(page, "Environment", "dev")
    assert shown(page) == in_dev
    assert drawn_revenue(page, "country", "dev") == revenue(workspace, "country", environment="__dev")


def test_two_environments_share_a_chart_and_a_table_of_differences(
    page: Page, address: str, workspace: Workspace
) -> None:
    open_page(page, address, "Retail")
    choose(page, "Compare with", "dev")
    in_prod, in_dev = totals(workspace)[0], totals(workspace, environment="__dev")[0]
    assert (metric(page, "Net revenue"), metric(page, "Net revenue", 1)) == (in_prod, in_dev)
    assert difference(page, "Net revenue") == "+900.00 USD"
    assert difference(page, "Returning customers") == "equal to prod"
    prod, dev = (revenue(workspace, "country", environment=one) for one in ("", "__dev"))
    drawn = marks(page, "Net revenue by country, USD, prod and dev")
    assert {(one["location"], one["environment"], Decimal(one["Net revenue, USD"])) for one in drawn} == {
        *((country, "prod", amount) for country, amount in prod.items()),
        *((country, "dev", amount) for country, amount in dev.items()),
    }
    page.get_by_test_id("stExpander").nth(1).get_by_text("Rows").click()
    name, [header, *lines] = downloaded(page, 1)
    assert name == "net_revenue_by_country_usd_prod_and_dev.csv"
    columns = [header.index(f"net_revenue_usd {one}") for one in ("prod", "dev", "difference")]
    assert {line[0]: [Decimal(line[column]) for column in columns] for line in lines} == {
        country: [prod[country], amount, amount - prod[country]] for country, amount in dev.items()
    }
    assert lines[0][0] == "Spain", "rows that differ come first"
    expect(page.get_by_text(f"1 of {len(dev)} rows differ between prod and dev.")).to_be_visible()
    picture(page, "compare")
    open_page(page, address, "EdTech")
    choose(page, "Compare with", "dev")
    expect(page.get_by_text("prod and dev are equal.").first).to_be_visible()


def difference(page: Page, label: str) -> str:
    """What the second environment's figure says of the first one's."""
    return tile(page, label, 1).get_by_test_id("stMetricDelta").inner_text().strip()


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([("a", 1), ("b", 2)], [("a", 1), ("b", 2)], [("a", 1, 1, 0), ("b", 2, 2, 0)]),
        ([("a", 1), ("b", 2)], [("b", 5)], [("a", 1, None, -1), ("b", 2, 5, 3)]),
        ([("a", 1)], [("a", 1), (None, 2)], [(None, None, 2, 2), ("a", 1, 1, 0)]),
        ([("a", None)], [("a", None)], [("a", None, None, 0)]),
        ([("a", None)], [("b", 0)], [("a", None, None, 0), ("b", None, 0, 0)]),
    ],
)
def test_a_row_that_an_environment_lacks_differs_by_all_of_it(
    left: list[tuple[object, ...]], right: list[tuple[object, ...]], expected: list[tuple[object, ...]]
) -> None:
    import pandas as pd  # noqa: PLC0415
    from panel import compare  # noqa: PLC0415

    frames = {
        name: pd.DataFrame(found, columns=["key", "rows"]).astype({"rows": object})
        for name, found in (("prod", left), ("dev", right))
    }
    table, differing = compare(frames, ["key"])
    found = [tuple(None if pd.isna(value) else value for value in row) for row in table.itertuples(index=False)]
    assert found == expected
    assert differing == len({key for key, _ in set(left) ^ set(right)})


def test_hostile_text_is_shown_as_text(page: Page, address: str) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    open_page(page, address, "Retail")
    choose(page, "Environment", "dev")
    choose(page, "Country", "Spain")
    choose(page, "Province / state", "Bizkaia")
    choose(page, "City", HOSTILE)
    assert metric(page, "Net revenue") == "900.00 USD"
    assert "alert(1)" not in page.content(), "the page shows no names of persons"
    assert drawn_revenue(page, "city", "dev") == {f"{HOSTILE}, Bizkaia, Spain": Decimal(900)}
    chart(page, "Net revenue by city, USD, dev").locator("svg [aria-roledescription=bar]").hover()
    expect(page.locator("#vg-tooltip-element")).to_contain_text("<img src=x")
    page.get_by_test_id("stExpander").nth(1).get_by_text("Rows").click()
    settle(page)
    picture(page, "hostile")
    assert page.locator("img[src=x]").count() == 0
    assert "hacked" not in page.title()
    assert not [url for url in requests if "invalid" in url]


def test_tables_separate_thousands_and_have_amounts_to_the_cent() -> None:
    import pandas as pd  # noqa: PLC0415
    from panel import number_formats  # noqa: PLC0415

    table = pd.DataFrame({
        "city": ["Bilbao"], "net_revenue_usd": [Decimal(1234)], "orders": [1234], "order_id": [1234], "rate": [1.5],
    })  # fmt: skip
    formats = {name: config["type_config"]["format"] for name, config in number_formats(table).items()}
    assert formats == {"net_revenue_usd": "%,.2f", "orders": "%,d", "rate": "%,.2f"}


def test_a_period_names_its_months_and_those_it_does_not_contain_to_the_day() -> None:
    from period import OTHER, Period  # noqa: PLC0415

    def period(first: date, last: date) -> Period:
        return Period(OTHER, last, (first, last))

    both = period(date(2026, 1, 1), date(2026, 2, 28))
    assert both.months == [date(2026, 1, 1), date(2026, 2, 1)]
    assert both.incomplete("month") == []
    assert period(date(2026, 1, 2), date(2026, 2, 28)).incomplete("month") == [date(2026, 1, 1)]
    assert period(date(2026, 1, 1), date(2026, 2, 27)).incomplete("month") == [date(2026, 2, 1)]
    assert period(date(2026, 2, 2), date(2026, 2, 28)).incomplete("month") == [date(2026, 2, 1)]
    today = datetime.now(UTC).date()
    assert period(today - timedelta(days=6), today).incomplete("day") == [today]
    assert period(date(2026, 1, 1), date(2026, 1, 31)).incomplete("day") == []


def test_csv_escapes_text_that_looks_like_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "dashboards")
    import pandas as pd  # noqa: PLC0415
    from panel import to_csv  # noqa: PLC0415

    formulas = ["=cmd()", "+1", "-1", "@x", "＝cmd()", "＋1", "－1", "＠x", "\t=1", "\r=1", "\n=1", "x\r=1"]  # noqa: RUF001
    table = pd.DataFrame({"city": [*formulas, "Bilbao"], "amount": [-1, *range(2, 13), Decimal("5.10")]})
    rows = list(csv.reader(io.StringIO(to_csv(table).decode(), newline="")))
    assert [city for city, _ in rows] == ["city", *(f"'{formula}" for formula in formulas[:-1]), "x\r=1", "Bilbao"]
    assert [amount for _, amount in rows] == ["amount", "-1", *map(str, range(2, 13)), "5.10"]


def test_a_run_and_open_dashboards_dont_interfere(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    data = tmp_path / "data"
    copytree(workspace.data, data)
    expected = totals(workspace)
    with dashboards(data) as address:
        open_page(page, address, "Retail")
        assert shown(page) == expected
        before = set((data / "dashboards").iterdir())
        idle = page.context.new_page()  # stays open without interaction
        open_page(idle, address, "Runs")
        points = len(marks(idle, "Duration of runs, seconds, prod", "point"))
        with run_elsewhere(workspace, data) as run:
            was_busy = False
            while run.poll() is None:
                for title in PAGES:
                    open_page(page, address, title)
                    assert page.get_by_test_id("stException").count() == 0
                    was_busy = was_busy or page.get_by_text("A plan or run is in progress").count() > 0
                open_page(page, address, "Retail")
                assert shown(page) == expected
        assert was_busy, "a page was opened during the run"
        idle.wait_for_function(
            "() => document.body.innerText.includes('The last run of prod succeeded')", timeout=90_000
        )
        settle(idle)
        becomes(idle, lambda: len(marks(idle, "Duration of runs, seconds, prod", "point")), points + 1)
        open_page(page, address, "Retail")
        assert shown(page) == expected
        assert set((data / "dashboards").iterdir()) - before, "the page shows a snapshot of the run's result"
        expect(page.get_by_text("A plan or run is in progress")).to_have_count(0)


def test_without_a_warehouse_the_page_explains_how_to_build_one_and_then_shows_it(
    page: Page, workspace: Workspace, tmp_path: Path
) -> None:
    with dashboards(tmp_path) as address:
        open_page(page, address, "Data quality")
        expect(page.get_by_text("No warehouse found.")).to_be_visible()
        expect(page.get_by_text("make dev")).to_be_visible()
        picture(page, "no_warehouse")

        database = tmp_path / "local_analytics.duckdb"
        with closing(duckdb.connect(str(database))):
            pass
        open_page(page, address, "Data quality")
        expect(page.get_by_text("No environment is built yet")).to_be_visible()

        columns = ", ".join(f"1 AS {column}" for column in SERVED["retail.dim_product"])
        incomplete = f"CREATE SCHEMA RETAIL; CREATE VIEW RETAIL.DIM_PRODUCT AS SELECT {columns}"
        with closing(duckdb.connect(str(database))) as connection:
            connection.execute(incomplete)
        open_page(page, address, "Data quality")
        missing = re.compile(r"prod doesn't have every table and column that this needs.*: ops\.row_reconciliation, ")
        expect(page.get_by_text(missing).first).to_be_visible()
        assert page.get_by_test_id("stException").count() == 0

        copytree(workspace.data, tmp_path, dirs_exist_ok=True)
        open_page(page, address, "Data quality")
        expect(page.get_by_test_id("stMetric")).to_have_count(6)


def test_the_page_warns_of_late_tables_that_it_reads(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    warehouse = tmp_path / "live_analytics.duckdb"
    warehouse.write_bytes((workspace.data / "local_analytics.duckdb").read_bytes())
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{warehouse}' AS ANALYTICS")
        connection.execute(
            "UPDATE ANALYTICS.run_log.events SET late_at = processed_until, laggard = 'raw.retail.sales' "
            "WHERE model = 'retail.fct_sales'"
        )
    with dashboards(tmp_path) as address:
        warning = re.compile(
            r"Data in prod is late: retail\.fct_sales since .* UTC \(.* ago\)\. raw\.retail\.sales keeps it behind\. "
            r"See docs/runbooks/late-data\.md\."
        )
        open_page(page, address, "EdTech")
        expect(page.get_by_text(warning)).to_have_count(0)
        open_page(page, address, "Retail")
        expect(page.get_by_text(warning)).to_be_visible()


def test_without_a_recorded_run_the_page_says_so(page: Page, built: Workspace, tmp_path: Path) -> None:
    (tmp_path / "live_analytics.duckdb").write_bytes((built.data / "local_analytics.duckdb").read_bytes())
    with dashboards(tmp_path) as address:
        open_page(page, address, "Retail")
        expect(page.get_by_text("No run of prod is recorded.")).to_be_visible()
        expect(page.get_by_text("processed until")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("title", PAGES)
def test_axe_finds_no_serious_violation_in_the_colors_of_the_system(
    browser: Browser, address: str, title: str, scheme: Literal["light", "dark"]
) -> None:
    with closing(browser.new_context(color_scheme=scheme)) as context:
        page = context.new_page()
        open_page(page, address, title)
        background = page.get_by_test_id("stApp").evaluate("app => getComputedStyle(app).backgroundColor")
        is_dark = int(re.findall(r"\d+", background)[0]) < 128
        assert is_dark == (scheme == "dark")
        choose(page, "Compare with", "dev")
        page.get_by_test_id("stExpander").first.get_by_text("Rows").click()
        settle(page)
        picture(page, f"{scheme}_{title.lower().replace(' ', '_')}")
        violations = Axe().run(page).response["violations"]
    assert not [
        (violation["id"], violation["nodes"][0]["html"])
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("title", PAGES)
def test_on_a_phone_nothing_is_wider_than_the_screen_and_a_figure_is_seen_first(
    browser: Browser, address: str, title: str
) -> None:
    with closing(browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)) as context:
        page = context.new_page()
        open_page(page, address, title)
        expect(page.locator("svg.marks").first).to_be_visible()
        for link in PAGES:
            expect(page.get_by_role("link", name=link, exact=True)).to_be_in_viewport()
        if title in {"Retail", "EdTech", "Data quality"}:
            expect(page.get_by_test_id("stMetricValue").first).to_be_in_viewport(ratio=1)
        wide = page.get_by_test_id("stMain").evaluate("main => main.scrollWidth - main.clientWidth")
        assert wide <= 0
        picture(page, f"phone_{title.lower().replace(' ', '_')}")


def test_filters_are_usable_by_keyboard(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    box = page.get_by_role("combobox", name="Country")
    for _ in range(60):
        page.keyboard.press("Tab")
        if box.evaluate("box => box === document.activeElement"):
            break
    else:
        pytest.fail("the filter Country can't be reached by keyboard")
    with rerun(page):
        page.keyboard.type("Spain")
        page.keyboard.press("Enter")
    assert shown(page) == totals(workspace, "country = 'Spain'")
    assert drawn_revenue(page, "province / state") == revenue(
        workspace, "province || ', ' || country", "country = 'Spain'"
    )


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_times_dont_depend_on_the_time_zone_and_all_requests_are_local(
    browser: Browser, address: str, workspace: Workspace, zone: str
) -> None:
    with closing(browser.new_context(timezone_id=zone)) as context:
        page, requests = context.new_page(), list[str]()
        page.on("request", lambda request: requests.append(request.url))
        for title in reversed(PAGES):
            open_page(page, address, title)
        drawn = marks(page, "Net revenue by day, USD, prod", "point")
        assert (drawn[0]["day"], drawn[-1]["day"]) == ("Aug 02, 2026", "Oct 30, 2026")
        open_page(page, address, "Runs")
        [(started_at,)] = rows(workspace, "SELECT started_at FROM ops.runs WHERE environment = 'prod'")
        [point] = marks(page, "Duration of runs, seconds, prod", "point")
        assert point["time"] == f"{started_at:%b %d, %Y %H:%M}"
    assert not [url for url in requests if not url.startswith((address, "data:", "blob:"))]


@pytest.mark.parametrize(("host", "status"), [("localhost", 101), ("127.0.0.1", 101), ("rebound.example", 403)])
def test_a_page_of_another_host_gets_no_data_even_if_its_name_resolves_to_this_machine(
    host: str, status: int, address: str
) -> None:
    port = urlsplit(address).port
    connection = HTTPConnection("localhost", port, timeout=30)
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers |= {
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Host": f"{host}:{port}",
        "Origin": f"http://{host}:{port}",
    }
    with closing(connection):
        connection.request("GET", "/_stcore/stream", headers=headers)
        assert connection.getresponse().status == status


def test_no_page_shows_the_dashboards_in_a_frame(page: Page, address: str) -> None:
    page.route("http://other.localhost/", lambda route: route.fulfill(body=f"<iframe src='{address}'></iframe>"))
    page.goto("http://other.localhost/")
    assert page.frames[1].url.startswith("chrome-error:")


def test_every_page_keeps_to_its_policy(page: Page, address: str) -> None:
    page.add_init_script(
        "window.violations = []; document.addEventListener('securitypolicyviolation', "
        "event => window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`))"
    )
    for title in PAGES:
        open_page(page, address, title)
        assert page.evaluate("window.violations") == []


def test_pages_read_exactly_the_served_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "dashboards")
    from meshflow.serve import Query  # noqa: PLC0415

    def tables(module: ModuleType) -> set[str]:
        found: set[str] = set()
        for value in vars(module).values():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, Query):
                    found |= set(one.tables)
                elif isinstance(one, str) and one.lstrip().startswith("SELECT"):
                    found |= set(Query(one).tables)
        return found

    names = ("data_quality", "edtech", "retail", "panel", "runs", "status")
    modules = {name: import_module(name) for name in names}
    for name in names[:3]:
        page = modules[name]
        assert tables(page) == set(page.TABLES), "the page shows the status of these tables"
    assert set().union(*map(tables, modules.values())) == set(SERVED)
