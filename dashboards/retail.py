"""Retail: revenue, orders and customers over time, by location, category and product, compared with a period before."""

from collections.abc import Mapping
from functools import partial

import charts
import pandas as pd
import streamlit as st
from charts import Measure
from panel import View, select_values, show_panel, show_totals
from period import LAST_YEAR, PREVIOUS, Period, select_period
from status import show_status

from meshflow.serve import Query

TABLES = ("retail.dim_customer", "retail.dim_product", "retail.fct_sales", "shared.dim_date", "shared.dim_location")
"""The tables that the page reads."""
LAST_LOAD = Query("SELECT MAX(_loaded_at) AS loaded_at FROM retail.fct_sales")
DAYS = Query(
    "SELECT MIN(order_date) AS first_day, MAX(IFF(order_date <= _loaded_at::DATE, order_date, NULL)) AS last_day, "
    "COUNT_IF(order_date > _loaded_at::DATE) AS future_count FROM retail.fct_sales"
)
"""A line dated after it was loaded is an anomaly: it would set the newest day to any year."""
LOCATIONS = Query("SELECT DISTINCT country, province, city FROM shared.dim_location")
CATEGORIES = Query("SELECT DISTINCT product_category FROM retail.dim_product")

MEASURES = {
    measure.label: measure
    for measure in (
        Measure("Net revenue", "net_revenue_usd", "USD", "Gross revenue less discount, without shipping"),
        Measure("Gross revenue", "gross_revenue_usd", "USD", "Quantity times unit price, before discount"),
        Measure("Discount", "discount_usd", "USD"),
        Measure("Discount rate", "discount_rate_percent", "%", "Discount by gross revenue"),
        Measure("Orders", "orders", "orders"),
        Measure("Average order value", "average_order_value_usd", "USD"),
        Measure("Units", "units", "units"),
        Measure("Customers", "customers", "customers", "Customers with an order"),
        Measure(
            "New customers",
            "new_customers",
            "customers",
            "Customers whose first order is in the period; the others are returning",
        ),
        Measure("Returning customers", "returning_customers", "customers"),
    )
}
ADDITIVE = ("net_revenue_usd", "gross_revenue_usd", "discount_usd", "units", "new_customers")
"""Measures whose days add up: customers and orders may be there on several."""

AGGREGATES = """
    COALESCE(SUM(sales.net_revenue_amount), 0) AS net_revenue_usd,
    COALESCE(SUM(sales.total_revenue_amount), 0) AS gross_revenue_usd,
    COALESCE(SUM(sales.total_discount_amount), 0) AS discount_usd,
    ROUND(100 * SUM(sales.total_discount_amount) / NULLIF(SUM(sales.total_revenue_amount), 0), 2)
        AS discount_rate_percent,
    COUNT(DISTINCT sales.order_id) AS orders,
    ROUND(SUM(sales.net_revenue_amount) / NULLIF(COUNT(DISTINCT sales.order_id), 0), 2) AS average_order_value_usd,
    COALESCE(SUM(sales.quantity), 0) AS units,
    COUNT(DISTINCT sales.customer_id) AS customers,
    COUNT(DISTINCT IFF(sales.order_date = customers.first_order_date, sales.customer_id, NULL)) AS new_customers,
    COUNT(DISTINCT sales.customer_id)
    - COUNT(DISTINCT IFF(sales.order_date = customers.first_order_date, sales.customer_id, NULL))
        AS returning_customers
FROM retail.fct_sales AS sales
LEFT JOIN shared.dim_location AS locations ON sales.location_id = locations.location_id
LEFT JOIN retail.dim_product AS products ON sales.product_id = products.product_id
LEFT JOIN retail.dim_customer AS customers ON sales.customer_id = customers.customer_id
WHERE sales.order_date BETWEEN ? AND ?
"""
"""LEFT JOIN: during a run, and after a failed one, a dimension may lack the location of new lines."""
TOTAL = f"SELECT {AGGREGATES}"
BY_CATEGORY = f"""
SELECT COALESCE(products.product_category, 'Unknown') AS category, {AGGREGATES}
GROUP BY COALESCE(products.product_category, 'Unknown') ORDER BY net_revenue_usd DESC, category
"""
BY_PRODUCT = f"""
SELECT COALESCE(products.product_name, 'Unknown') || ' · ' || sales.product_id AS product, {AGGREGATES}
GROUP BY products.product_name, sales.product_id ORDER BY net_revenue_usd DESC, product
"""
"""Two products may have one name."""
BY_LOCATION = {
    level: f"""
SELECT COALESCE({name}, 'Unknown') AS location, {AGGREGATES}
GROUP BY COALESCE({name}, 'Unknown') ORDER BY net_revenue_usd DESC, location
"""
    for level, name in {
        "country": "locations.country",
        "province": "locations.province || ', ' || locations.country",
        "city": "locations.city || ', ' || locations.province || ', ' || locations.country",
    }.items()
}
"""There is a London in Ontario too, so a city's name includes its province and country."""

EACH, AVERAGE, CUMULATIVE = "each", "average of 7 days", "cumulative"
SHOWN = {
    EACH: ", ".join(
        f"sold.{column}"
        if column in {"discount_rate_percent", "average_order_value_usd"}
        else f"COALESCE(sold.{column}, 0) AS {column}"
        for column in (one.column for one in MEASURES.values())
    ),
    AVERAGE: ", ".join(
        f"ROUND(AVG(COALESCE(sold.{column}, 0)) OVER "
        f"(ORDER BY days.day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW), 2) AS {column}"
        for column in ADDITIVE
    ),
    CUMULATIVE: ", ".join(
        f"SUM(COALESCE(sold.{column}, 0)) OVER (ORDER BY days.day) AS {column}" for column in ADDITIVE
    ),
}
"""A day, or month, without a sale has zeros, but no rate and no average order."""
OVER_TIME = {
    (grain, way): f"""
SELECT days.day + days.shift AS day, days.period, {columns}
FROM (
    SELECT DISTINCT {calendar} AS day, {calendar} >= ? AS is_shown, ? AS shift, ? AS period
    FROM shared.dim_date
    WHERE date_day BETWEEN ? AND ?
) AS days
LEFT JOIN (
    SELECT {sold} AS day, {AGGREGATES} GROUP BY {sold}
) AS sold ON days.day = sold.day
{"QUALIFY days.is_shown" if way == AVERAGE else ""}
"""
    for way, columns in SHOWN.items()
    for grain, calendar, sold in (
        ("day", "date_day", "sales.order_date"),
        ("month", "month_start_date", "DATE_TRUNC('MONTH', sales.order_date)::DATE"),
    )
}

LINES = """
SELECT
    sales.order_date,
    sales.order_id,
    COALESCE(products.product_name, 'Unknown') || ' · ' || sales.product_id AS product,
    COALESCE(products.product_category, 'Unknown') AS category,
    COALESCE(locations.city || ', ' || locations.province || ', ' || locations.country, 'Unknown') AS location,
    sales.quantity AS units, sales.total_revenue_amount AS gross_revenue_usd,
    sales.total_discount_amount AS discount_usd, sales.net_revenue_amount AS net_revenue_usd
FROM retail.fct_sales AS sales
LEFT JOIN shared.dim_location AS locations ON sales.location_id = locations.location_id
LEFT JOIN retail.dim_product AS products ON sales.product_id = products.product_id
WHERE sales.order_date BETWEEN ? AND ?
ORDER BY order_date DESC, order_id DESC, product
LIMIT 10000
"""
"""The order lines behind a bar, the newest 10,000, without the customer."""
LEVELS = {"country": "Country", "province": "Province / state", "city": "City"}
"""Labels of the location columns, each level below the one before."""
LONGEST_DAILY_PERIOD = 92
"""Days. Longer periods are drawn by month."""
BARS = 20
"""Bars in a chart."""


def page(view: View) -> None:
    show_status(view, TABLES)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("No sales yet: `retail.fct_sales` is empty. `meshflow load` and `meshflow run` fill it.")
        return
    earliest, newest = bounds["first_day"].min(), bounds["last_day"].max()
    with st.container(horizontal=True):
        period = select_period(newest, "last 90 days", "period")
        compared = st.segmented_control(
            "Change since",
            (PREVIOUS, LAST_YEAR),
            default=PREVIOUS,
            required=True,
            key="change_since",
            bind="query-params",
            wrap=False,
        )
        filters, level = _filters(view)
    if not period:
        return
    earlier = period.before(compared)
    note, earlier_total = f"{period}. No data for the {compared}, {earlier}.", None
    if earlier.days[0] >= earliest:
        note = f"{period}. Change since the {compared}, {earlier}."
        earlier_total = _filtered(Query(TOTAL, earlier.days), filters)
    if future := int(bounds["future_count"].max()):
        note += f" {future:,} order lines are dated after they were loaded: no named period contains them."
    total = _filtered(Query(TOTAL, period.days), filters)
    show_totals(view, total, list(MEASURES.values()), LAST_LOAD, note, earlier_total)

    measure = MEASURES[st.selectbox("Measure", MEASURES, key="measure", bind="query-params")]
    _show_over_time(view, period, earlier, compared, measure, filters)

    show = partial(
        show_panel,
        view,
        is_overlaid=True,
        limit=BARS,
        prepare=lambda rows: rows.sort_values(measure.column, ascending=False, kind="stable"),
        maximum=lambda rows: rows[measure.column].max(),
        last_load=LAST_LOAD,
    )
    note = "Click a bar for more. An order with several categories or locations is counted in each: bars don't add up."
    for by, column, sql in (
        (f"by {LEVELS[level].lower()}", "location", BY_LOCATION[level]),
        ("by category", "category", BY_CATEGORY),
        ("by product", "product", BY_PRODUCT),
    ):
        query = _filtered(Query(sql, period.days), filters)
        drilled = level if column == "location" else column
        show(
            measure.per(by),
            query,
            partial(charts.bars, by=column, measure=measure),
            note=note,
            on_choose=partial(_drill, drilled, view.options(LOCATIONS)),
        )
        if chosen := _chosen(drilled):
            lines = Query(LINES, period.days)
            for name, value in chosen.items():
                lines = lines.only(name, [value])
            show_panel(view, f"Order lines of {st.session_state[_key(drilled)]}", _filtered(lines, filters), keys=3)
        note = "Click a bar for its order lines. Category and name of a product are those of its newest order."


def _drill(by: str, locations: pd.DataFrame, value: str | None) -> None:
    """Filter by the location that was clicked, so that the level below is shown; keep any other bar as chosen."""
    names = list(LEVELS)[: list(LEVELS).index(by) + 1] if by in LEVELS else []
    for _, location in locations.iterrows() if value and names else ():
        if ", ".join(location[name] for name in reversed(names)) == value:
            for name in names:
                st.session_state[name] = [location[name]]
            return
    st.session_state[_key(by)] = value


def _chosen(by: str) -> dict[str, object]:
    """The columns and values of the bar that was clicked."""
    value = st.session_state.get(_key(by))
    if not value or value == "Unknown":
        return {}
    if by == "product":
        return {"sales.product_id": int(value.rpartition(" · ")[2])}
    return {"products.product_category": value} if by == "category" else {}


def _key(by: str) -> str:
    return f"chosen {by}"


def _show_over_time(  # noqa: PLR0913, PLR0917 - what is selected
    view: View, period: Period, earlier: Period, compared: str, measure: Measure, filters: Mapping[str, list[str]]
) -> None:
    grain = "month" if period.length > LONGEST_DAILY_PERIOD else "day"
    ways = {EACH: f"each {grain}", AVERAGE: AVERAGE, CUMULATIVE: CUMULATIVE}
    left, right = st.columns(2, vertical_alignment="bottom")
    way = left.selectbox("Over time", ways, format_func=ways.__getitem__, key="way", bind="query-params")
    is_both = right.toggle("Show both periods over time", key="both", bind="query-params")
    note = ""
    if way != EACH and measure.column not in ADDITIVE:
        way, note = EACH, f"Values of several {grain}s can't be added up, so each {grain} is shown. "
    elif way == AVERAGE and grain == "month":
        way, note = EACH, f"The average needs a period of at most {LONGEST_DAILY_PERIOD} days. Each month is shown. "
    if is_both and grain == "month":
        note += f"Both periods are shown if they have at most {LONGEST_DAILY_PERIOD} days. "
    shown = [(period, "this period")]
    if is_both and grain == "day":
        shown.append((earlier, compared))
    queries = [_over_time(one, name, period, grain, way, filters) for one, name in shown]
    over_time = Query(
        " UNION ALL ".join(query.sql for query in queries) + " ORDER BY period DESC, day",
        tuple(value for query in queries for value in query.parameters),
    )
    partial_dates = period.incomplete(grain)
    if partial_dates:
        note += f"Hollow points aren't complete: {', '.join(map(str, partial_dates))}. The period is {period}."
    show_panel(
        view,
        measure.per({EACH: f"by {grain}", AVERAGE: "by day, average of 7 days", CUMULATIVE: "cumulative"}[way]),
        over_time,
        partial(charts.line, time="day", measure=measure, series="period"),
        keys=2,
        prepare=lambda rows: rows.assign(is_partial=rows["day"].isin(partial_dates)),
        is_overlaid=True,
        maximum=lambda rows: rows[measure.column].max(),
        last_load=LAST_LOAD,
        note=note,
    )


def _over_time(  # noqa: PLR0913, PLR0917 - what is selected
    period: Period, name: str, shown_as: Period, grain: str, way: str, filters: Mapping[str, list[str]]
) -> Query:
    """The rows of one period, on the days of the period `shown_as`."""
    first, last = period.days
    before = 6 if way == AVERAGE else 0
    start = pd.Timestamp(first).replace(day=1).date() if grain == "month" else first
    earliest = (pd.Timestamp(first) - pd.Timedelta(days=before)).date()
    shift = (shown_as.days[0] - first).days
    return _filtered(
        Query(OVER_TIME[grain, way], (start, shift, name, earliest, last, earliest, last)),
        filters,
    )


def _filters(view: View) -> tuple[dict[str, list[str]], str]:
    """Selected values by column, and the level below the selected locations."""
    locations, level = view.options(LOCATIONS), "country"
    selected: dict[str, list[str]] = {}
    for name, below in zip(LEVELS, (*list(LEVELS)[1:], "city"), strict=True):
        selected[f"locations.{name}"] = select_values(LEVELS[name], locations[name], name)
        if selected[f"locations.{name}"]:
            locations, level = locations[locations[name].isin(selected[f"locations.{name}"])], below
    categories = view.options(CATEGORIES)["product_category"]
    selected["products.product_category"] = select_values("Category", categories, "category")
    return selected, level


def _filtered(query: Query, filters: Mapping[str, list[str]]) -> Query:
    for column, values in filters.items():
        query = query.only(column, values)
    return query
