"""The dashboards in Chromium. Expected figures come from SQL on the warehouse itself."""

import calendar
import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copytree

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect
from serving import ROOT, serving
from workspace import Workspace, plan, run_elsewhere

from meshflow.publish import SERVED

SCREENSHOTS = ROOT / ".cache" / "screenshots"
PAGES = {"Retail": "/", "EdTech": "/edtech", "Data quality": "/data_quality"}
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
    with closing(workspace.context()) as context:
        plan(context, "dev")
    return workspace


@pytest.fixture(scope="session")
def address(workspace: Workspace) -> Iterator[str]:
    with dashboards(workspace.data) as address:
        yield address


def dashboards(data: Path) -> AbstractContextManager[str]:
    """Start the dashboards on a folder of databases, as `make dashboard` does, and yield their address."""
    streamlit = [sys.executable, "-m", "streamlit", "run", "dashboards/app.py", "--server.port"]
    settings = {"MESHFLOW_DATA": str(data)}
    return serving(lambda port: [*streamlit, str(port)], "/_stcore/health", data / "dashboards.log", settings)


def open_page(page: Page, address: str, title: str) -> None:
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page.goto(address + PAGES[title])
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


def becomes(page: Page, read: Callable[[], object], expected: object) -> None:
    """Wait until an existing chart shows what is expected: Vega redraws some time after the script."""
    for _ in range(100):
        if read() == expected:
            return
        page.wait_for_timeout(100)
    assert read() == expected


def metric(page: Page, label: str, nth: int = 0) -> str:
    box = page.get_by_test_id("stMetric").filter(has_text=label).nth(nth)
    return box.get_by_test_id("stMetricValue").inner_text()


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


def downloaded(page: Page, panel: int) -> tuple[str, list[list[str]]]:
    """Name and rows, with the header, of the CSV of a panel whose rows are open, by its index on the page."""
    with page.expect_download() as download:
        page.get_by_test_id("stExpander").nth(panel).get_by_role("button", name="Download as CSV").click()
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
    assert figures(page, "By country, prod", "location", "USD") == revenue(workspace, "country")
    assert figures(page, "By category, prod", "category", "USD") == revenue(workspace, "product_category")
    daily = f"SELECT order_date, SUM(net_revenue_amount) FROM retail.rpt_revenue_daily WHERE {PERIOD} GROUP BY ALL"
    drawn = {mark["day"]: Decimal(mark["USD"]) for mark in marks(page, "Over time, prod", "point")}
    zeros = {f"{date(2026, 8, 2) + timedelta(days=day):%b %d, %Y}": Decimal(0) for day in range(90)}
    assert drawn == zeros | {f"{day:%b %d, %Y}": amount for day, amount in rows(workspace, daily)}
    picture(page, "retail")


def test_retail_compares_a_period_with_the_previous_one(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    total = "SELECT SUM(net_revenue_amount) FROM retail.fct_sales WHERE order_date BETWEEN"
    [(current,)] = rows(workspace, f"{total} '2026-08-02' AND '2026-10-30'")
    [(previous,)] = rows(workspace, f"{total} '2026-05-04' AND '2026-08-01'")
    change = page.get_by_test_id("stMetric").filter(has_text="Net revenue").get_by_test_id("stMetricDelta")
    assert change.inner_text().strip() == f"{(current - previous) / previous:+.1%}"
    expect(page.get_by_text("Change vs. previous period (2026-05-04 to 2026-08-01).")).to_be_visible()
    with rerun(page):
        page.get_by_text("Compare with previous period").click()
    expect(chart(page, "Over time, prod").get_by_text("previous period")).to_be_visible()
    drawn = marks(page, "Over time, prod", "point")
    assert sum(Decimal(mark["USD"]) for mark in drawn if mark["period"] == "previous period") == previous
    months = {mark["day"][:3] for mark in drawn}
    assert months == {"Aug", "Sep", "Oct"}, "days of the previous period have the dates they are compared with"


def test_without_data_for_the_previous_period_retail_shows_no_change(page: Page, address: str) -> None:
    open_page(page, address, "Retail")
    with rerun(page):
        page.get_by_role("spinbutton", name="year, From").fill("2025")
        page.get_by_role("heading", name="Retail", level=1).click()
    expect(page.get_by_text("No data for the previous period.")).to_be_visible()
    expect(page.get_by_test_id("stMetricDelta")).to_have_count(0)


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
        [bar] = marks(page, "By country, prod")
        assert (bar["location"], f"{Decimal(bar['USD']):,.2f} USD") == ("Unknown", expected[0])


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
    assert figures(page, "By province / state, prod", "location", "USD") == by_province
    by_category = revenue(workspace, "product_category", where)
    becomes(page, lambda: figures(page, "By category, prod", "category", "USD"), by_category)
    province = max(by_province, key=lambda name: by_province[name]).partition(",")[0]
    choose(page, "Province / state", province)
    where += f" AND province = '{province}'"
    by_city = revenue(workspace, "city || ', ' || province || ', ' || country", where)
    assert figures(page, "By city, prod", "location", "USD") == by_city
    assert shown(page) == totals(workspace, where)


def test_the_measure_changes_every_chart(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    with rerun(page):
        page.get_by_role("radiogroup").get_by_text("Orders").click()
    expect(chart(page, "By country, prod").get_by_text("orders")).to_be_visible()
    sales = SALES.format("retail.fct_sales", "")
    query = f"SELECT country, COUNT(DISTINCT order_id) FROM {sales} WHERE {PERIOD} GROUP BY country"
    orders = {str(country): Decimal(str(count)) for country, count in rows(workspace, query)}
    assert figures(page, "By country, prod", "location", "orders") == orders


def test_edtech_shows_the_figures_of_the_marts(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "EdTech")
    [counts] = rows(
        workspace,
        "SELECT (SELECT COUNT(*) FROM edtech.dim_course), COUNT(*), COUNT(DISTINCT student_id) "
        "FROM edtech.fct_enrollment",
    )
    assert [metric(page, name) for name in ("Courses", "Enrollments", "Students")] == [f"{one:,}" for one in counts]
    courses = rows(workspace, "SELECT course_status, course_level, COUNT(*) FROM edtech.dim_course GROUP BY ALL")
    drawn = marks(page, "Courses by status and level, prod")
    assert {(mark["status"], mark["level"], int(mark["courses"])) for mark in drawn} == set(courses)
    ages = dict(rows(workspace, "SELECT age_band, student_count FROM edtech.rpt_students_by_age_band"))
    assert figures(page, "Students by age, prod", "age_band", "students") == ages
    credits_ = rows(workspace, "SELECT total_credit_count, COUNT(*) FROM edtech.rpt_student_credits GROUP BY ALL")
    drawn_credits = figures(page, "Students by credits taken, prod", "credits", "students")
    assert drawn_credits == {str(taken): count for taken, count in credits_}
    columns = ", ".join(f"{month.lower()}_enrollment_count" for month in calendar.month_name[1:])
    by_month = f"SELECT course_name, {columns} FROM edtech.rpt_course_enrollments_by_month WHERE enrollment_year = 2026"
    cells = marks(page, "Enrollments by course and month, 2026, prod", "rect mark")
    assert {(mark["course_name"], mark["month"]): int(mark["enrollments"]) for mark in cells} == {
        (course, month): count
        for course, *counts in rows(workspace, by_month)
        for month, count in zip(calendar.month_abbr[1:], counts, strict=True)
    }
    last = marks(page, "Cumulative enrollments, prod", "point")[-1]
    assert int(last["enrollments"]) == counts[1]
    picture(page, "edtech")


def test_edtech_filters_change_figures_and_charts(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "EdTech")
    choose(page, "Level", "Beginner")
    choose(page, "Status", "Ended")
    where = "course_level = 'Beginner' AND course_status = 'Ended'"
    [(courses,)] = rows(workspace, f"SELECT COUNT(*) FROM edtech.dim_course WHERE {where}")
    [(enrollments,)] = rows(
        workspace, f"SELECT COUNT(*) FROM edtech.fct_enrollment JOIN edtech.dim_course USING (course_id) WHERE {where}"
    )
    assert (metric(page, "Courses"), metric(page, "Enrollments")) == (f"{courses}", f"{enrollments:,}")
    becomes(
        page,
        lambda: [
            (mark["status"], mark["level"], int(mark["courses"]))
            for mark in marks(page, "Courses by status and level, prod")
        ],
        [("Ended", "Beginner", courses)],
    )
    becomes(page, lambda: int(marks(page, "Cumulative enrollments, prod", "point")[-1]["enrollments"]), enrollments)


def test_data_quality_shows_the_counts_of_ops_and_filters_them(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Data quality")
    names = ("loaded", "accepted", "deleted", "rejected", "missing")
    sums = ", ".join(f"SUM({name}_count)" for name in names)
    total = f"SELECT {sums} FROM ops.row_reconciliation WHERE updated_date BETWEEN '2025-10-31' AND '2026-10-30'"
    [expected] = rows(workspace, total)
    assert [metric(page, f"Rows {name}") for name in names] == [f"{one:,}" for one in expected]
    drawn = marks(page, "Accepted and rejected rows by month, prod")
    assert sum(int(mark["rows"]) for mark in drawn if mark["outcome"] == "accepted") == expected[1]
    rejected = rows(
        workspace,
        "SELECT reject_reason || ' · ' || source_table, SUM(rejected_count) FROM ops.rejected_rows "
        "WHERE updated_date BETWEEN '2025-10-31' AND '2026-10-30' GROUP BY ALL",
    )
    assert figures(page, "Rejected rows by reason, prod", "reject_reason", "rows") == dict(rejected)
    picture(page, "data_quality")

    choose(page, "Table", "retail.sales")
    [expected] = rows(workspace, f"{total} AND source_table = 'retail.sales'")
    assert [metric(page, f"Rows {name}") for name in names] == [f"{one:,}" for one in expected]
    of_sales = {reason: count for reason, count in rejected if str(reason).endswith(" · retail.sales")}
    becomes(page, lambda: figures(page, "Rejected rows by reason, prod", "reject_reason", "rows"), of_sales)


@pytest.mark.parametrize("title", PAGES)
def test_every_figure_shows_its_tables_and_its_timestamp(page: Page, address: str, title: str) -> None:
    open_page(page, address, title)
    origins = page.get_by_text(re.compile(r"^From \w+\.\w+.* in prod, as of \d\d \w+ 20\d\d \d\d:\d\d UTC \(.* ago\)"))
    panels = page.get_by_role("heading", level=2).count()
    assert origins.count() == panels + 1, "one for each panel and one for the totals"
    expect(page.get_by_text(re.compile(r"^The warehouse was last written .* ago"))).to_be_visible()


def test_csv_contains_the_rows_shown(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    page.get_by_test_id("stExpander").nth(1).get_by_text("Rows").click()
    name, lines = downloaded(page, 1)
    assert name == "by_country_prod.csv"
    assert lines[0] == ["location", "orders", "discount", "net_revenue"]
    assert {line[0]: Decimal(line[3]) for line in lines[1:]} == revenue(workspace, "country")


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
    for panel, query in ((0, freshness), (-1, reconciliation)):
        _, [_, *lines] = downloaded(page, panel)
        assert lines == [[str(value) for value in row] for row in rows(workspace, query)]
    reasons = (
        "SELECT STRFTIME(updated_date, '%Y-%m'), reject_reason, SUM(rejected_count) FROM ops.rejected_rows "
        "WHERE updated_date BETWEEN '2025-10-31' AND '2026-10-30' GROUP BY ALL"
    )
    cells = marks(page, "Reject reasons by month, prod", "rect mark")
    assert {(mark["month"], mark["reject_reason"]): int(mark["rows"]) for mark in cells} == {
        (month, reason): count for month, reason, count in rows(workspace, reasons)
    }


def test_another_environment_shows_its_own_figures(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    in_prod, in_dev = totals(workspace), totals(workspace, environment="__dev")
    assert in_prod != in_dev
    choose(page, "Environment", "dev")
    assert shown(page) == in_dev
    assert figures(page, "By country, dev", "location", "USD") == revenue(workspace, "country", environment="__dev")


def test_two_environments_are_compared_on_one_scale(page: Page, address: str, workspace: Workspace) -> None:
    open_page(page, address, "Retail")
    choose(page, "Compare with", "dev")
    assert metric(page, "Net revenue", 0) == totals(workspace)[0]
    assert metric(page, "Net revenue", 1) == totals(workspace, environment="__dev")[0]
    left, right = (chart(page, f"By country, {name}") for name in ("prod", "dev"))
    assert figures(page, "By country, prod", "location", "USD") == revenue(workspace, "country")
    assert figures(page, "By country, dev", "location", "USD") == revenue(workspace, "country", environment="__dev")
    left_box, right_box = left.bounding_box(), right.bounding_box()
    assert left_box
    assert right_box
    assert left_box["x"] + left_box["width"] <= right_box["x"]
    becomes(page, lambda: scale(left), scale(right))
    picture(page, "compare")


def scale(drawn: Locator) -> str:
    """The range of the horizontal axis of a chart."""
    return str(drawn.locator("[aria-label^='X-axis']").get_attribute("aria-label")).partition("from")[2]


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
    assert figures(page, "By city, dev", "location", "USD") == {f"{HOSTILE}, Bizkaia, Spain": Decimal(900)}
    chart(page, "By city, dev").locator("svg [aria-roledescription=bar]").hover()
    expect(page.locator("#vg-tooltip-element")).to_contain_text("<img src=x")
    page.get_by_test_id("stExpander").nth(1).get_by_text("Rows").click()
    settle(page)
    picture(page, "hostile")
    assert page.locator("img[src=x]").count() == 0
    assert "hacked" not in page.title()
    assert not [url for url in requests if "invalid" in url]


def test_csv_escapes_text_that_looks_like_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "dashboards")
    import pandas as pd  # noqa: PLC0415
    from panel import to_csv  # noqa: PLC0415

    table = pd.DataFrame({"city": ["=cmd()", "+1", "-1", "@x", "Bilbao"], "amount": [-1, 2, 3, 4, Decimal("5.10")]})
    assert to_csv(table).decode().splitlines() == [
        "city,amount",
        "'=cmd(),-1",
        "'+1,2",
        "'-1,3",
        "'@x,4",
        "Bilbao,5.10",
    ]


def test_a_run_and_open_dashboards_dont_interfere(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    data = tmp_path / "data"
    copytree(workspace.data, data)
    expected = totals(workspace)
    with dashboards(data) as address:
        open_page(page, address, "Retail")
        assert shown(page) == expected
        before = set((data / "dashboards").iterdir())
        idle = page.context.new_page()  # stays open without interaction
        open_page(idle, address, "Retail")
        as_of = re.findall(r"as of .*? UTC", first_origin(idle).inner_text())[0]
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
        for open_one in (page, idle):
            expect(first_origin(open_one)).not_to_contain_text(as_of)
            settle(open_one)
            assert shown(open_one) == expected
        assert set((data / "dashboards").iterdir()) - before, "the page shows a snapshot of the run's result"
        expect(page.get_by_text("The warehouse was last written less than a minute ago")).to_be_visible()
        expect(page.get_by_text("A plan or run is in progress")).to_have_count(0)


def first_origin(page: Page) -> Locator:
    """The tables and timestamps of the first figures."""
    return page.get_by_text(re.compile(r"^From \w+\.\w+.* as of")).first


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

        incomplete = (
            "CREATE SCHEMA RETAIL; CREATE VIEW RETAIL.DIM_PRODUCT AS SELECT 1 AS product_id, '' AS product_category"
        )
        with closing(duckdb.connect(str(database))) as connection:
            connection.execute(incomplete)
        open_page(page, address, "Data quality")
        missing = re.compile(r"prod doesn't have every table and column that this needs.*: ops\.row_reconciliation\.")
        expect(page.get_by_text(missing).first).to_be_visible()
        assert page.get_by_test_id("stException").count() == 0

        copytree(workspace.data, tmp_path, dirs_exist_ok=True)
        open_page(page, address, "Data quality")
        expect(page.get_by_test_id("stMetric")).to_have_count(5)


def test_the_page_warns_if_live_data_is_late(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "live_analytics.duckdb").write_bytes((workspace.data / "local_analytics.duckdb").read_bytes())
    with dashboards(tmp_path) as address:
        open_page(page, address, "Retail")
        warning = r"Data in prod is late: the newest row was loaded \d+ days ago\. See docs/runbooks/late-data\.md\."
        expect(page.get_by_text(re.compile(warning))).to_be_visible()


@pytest.mark.parametrize("title", PAGES)
def test_axe_finds_no_serious_violation(page: Page, address: str, title: str) -> None:
    open_page(page, address, title)
    choose(page, "Compare with", "dev")
    page.get_by_test_id("stExpander").first.get_by_text("Rows").click()
    settle(page)
    violations = Axe().run(page).response["violations"]
    assert not [
        (violation["id"], violation["nodes"][0]["html"])
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("title", PAGES)
def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, address: str, title: str) -> None:
    with closing(browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)) as context:
        page = context.new_page()
        open_page(page, address, title)
        expect(page.locator("svg.marks").first).to_be_visible()
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
    assert figures(page, "By province / state, prod", "location", "USD") == revenue(
        workspace, "province || ', ' || country", "country = 'Spain'"
    )


def test_days_dont_depend_on_the_time_zone_and_all_requests_are_local(browser: Browser, address: str) -> None:
    with closing(browser.new_context(timezone_id="America/Los_Angeles")) as context:
        page, requests = context.new_page(), list[str]()
        page.on("request", lambda request: requests.append(request.url))
        for title in reversed(PAGES):
            open_page(page, address, title)
        drawn = marks(page, "Over time, prod", "point")
        assert (drawn[0]["day"], drawn[-1]["day"]) == ("Aug 02, 2026", "Oct 30, 2026")
    assert not [url for url in requests if not url.startswith((address, "data:", "blob:"))]


def test_pages_read_exactly_the_served_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "dashboards")
    import data_quality  # noqa: PLC0415
    import edtech  # noqa: PLC0415
    import retail  # noqa: PLC0415

    from meshflow.serve import Query  # noqa: PLC0415

    tables: set[str] = set()
    for module in (data_quality, edtech, retail):
        for value in vars(module).values():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, Query):
                    tables |= set(one.tables)
                elif isinstance(one, str) and one.lstrip().startswith("SELECT"):
                    tables |= set(Query(one).tables)
    assert tables == set(SERVED)
