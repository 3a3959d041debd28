"""Retail: revenue, discount and orders over time, by location and by category, compared with the previous period."""

from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from panel import View, select_values, show_panel, show_totals
from period import LAST_YEAR, PREVIOUS, select_period
from status import show_status

from meshflow.serve import Query

TABLES = ("retail.dim_product", "retail.fct_sales", "shared.dim_location")
"""The tables that the page reads."""
LAST_LOAD = Query("SELECT MAX(_loaded_at) AS loaded_at FROM retail.fct_sales")
DAYS = Query("SELECT MIN(order_date) AS first_day, MAX(order_date) AS last_day FROM retail.fct_sales")
LOCATIONS = Query("SELECT DISTINCT country, province, city FROM shared.dim_location")
CATEGORIES = Query("SELECT DISTINCT product_category FROM retail.dim_product")

MEASURES = """
    COUNT(DISTINCT sales.order_id) AS orders,
    COALESCE(SUM(sales.total_discount_amount), 0) AS discount,
    COALESCE(SUM(sales.net_revenue_amount), 0) AS net_revenue
FROM retail.fct_sales AS sales
LEFT JOIN shared.dim_location AS locations ON sales.location_id = locations.location_id
LEFT JOIN retail.dim_product AS products ON sales.product_id = products.product_id
WHERE sales.order_date BETWEEN ? AND ?
"""
"""LEFT JOIN: during a run, and after a failed one, shared.dim_location may lack the location of new lines."""
TOTAL = f"SELECT {MEASURES}"
BY_DAY = f"SELECT sales.order_date AS day, 'this period' AS period, {MEASURES} GROUP BY sales.order_date ORDER BY day"
BY_MONTH = f"""
SELECT DATE_TRUNC('MONTH', sales.order_date)::DATE AS day, 'this period' AS period, {MEASURES}
GROUP BY DATE_TRUNC('MONTH', sales.order_date) ORDER BY day
"""
BY_PERIOD = f"""
SELECT
    sales.order_date + IFF(sales.order_date < ?, ?, 0) AS day,
    IFF(sales.order_date < ?, ?, 'this period') AS period,
    {MEASURES} OR sales.order_date BETWEEN ? AND ?
GROUP BY sales.order_date ORDER BY period DESC, day
"""
"""By day; days of the earlier period are shifted to the days they are compared with."""
BY_CATEGORY = f"""
SELECT COALESCE(products.product_category, 'Unknown') AS category, {MEASURES}
GROUP BY COALESCE(products.product_category, 'Unknown') ORDER BY net_revenue DESC, category
"""
BY_LOCATION = {
    level: f"""
SELECT COALESCE({name}, 'Unknown') AS location, {MEASURES}
GROUP BY COALESCE({name}, 'Unknown') ORDER BY net_revenue DESC, location
"""
    for level, name in {
        "country": "locations.country",
        "province": "locations.province || ', ' || locations.country",
        "city": "locations.city || ', ' || locations.province || ', ' || locations.country",
    }.items()
}
"""There is a London in Ontario too, so a city's name includes its province and country."""

LEVELS = {"country": "Country", "province": "Province / state", "city": "City"}
"""Labels of the location columns, each level below the one before."""

FIGURES = {"Net revenue": ("net_revenue", "USD"), "Discount": ("discount", "USD"), "Orders": ("orders", "orders")}
LONGEST_DAILY_PERIOD = 92
"""Days. Longer periods are drawn by month."""


def page(view: View) -> None:
    show_status(view, TABLES)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("No sales yet: `retail.fct_sales` is empty.")
        return
    earliest = bounds["first_day"].min()
    left, right = st.columns(2)
    with left:
        period = select_period(bounds["last_day"].max(), "last 90 days", "period")
    compared = right.selectbox("Change since", (PREVIOUS, LAST_YEAR), key="change_since", bind="query-params")
    filters, level = _filters(view)
    if not period:
        return
    (first, last), earlier = period.days, period.before(compared)
    note, earlier_total = f"{period}. No data for the {compared}, {earlier}.", None
    if earlier.days[0] >= earliest:
        note = f"{period}. Change since the {compared}, {earlier}."
        earlier_total = _filtered(Query(TOTAL, earlier.days), filters)
    show_totals(view, _filtered(Query(TOTAL, period.days), filters), FIGURES, LAST_LOAD, note, earlier_total)

    measure, unit = FIGURES[st.radio("Measure", FIGURES, horizontal=True, key="measure", bind="query-params")]
    days = {"this period": pd.date_range(first, last)}
    if period.length > LONGEST_DAILY_PERIOD:
        over_time = Query(BY_MONTH, period.days)
        days = {"this period": pd.date_range(first.replace(day=1), last, freq="MS")}
    elif st.toggle("Show both periods over time", key="both", bind="query-params"):
        shift = (first - earlier.days[0]).days
        over_time = Query(BY_PERIOD, (first, shift, first, compared, *period.days, *earlier.days))
        days[compared] = pd.date_range(first, periods=earlier.length)
    else:
        over_time = Query(BY_DAY, period.days)
    show = partial(show_panel, view, maximum=lambda rows: rows[measure].max(), last_load=LAST_LOAD)

    def draw_line(rows: pd.DataFrame, scale_max: float) -> alt.Chart:
        return charts.line(_fill_gaps(rows, days), scale_max, day="day", measure=measure, series="period", unit=unit)

    show("Over time", _filtered(over_time, filters), draw_line)
    locations = _filtered(Query(BY_LOCATION[level], period.days), filters)
    title = f"By {LEVELS[level].lower()}"
    show(title, locations, partial(charts.bars, by="location", measure=measure, unit=unit))
    categories = _filtered(Query(BY_CATEGORY, period.days), filters)
    note = (
        "A product's category is that of its newest order. An order with several categories or locations is counted in "
        "each, so the bars don't add up to the total."
    )
    show("By category", categories, partial(charts.bars, by="category", measure=measure, unit=unit), note=note)


def _fill_gaps(rows: pd.DataFrame, days: dict[str, pd.DatetimeIndex]) -> pd.DataFrame:
    """Add a 0 for each day, or month, without a sale. Otherwise the line would connect the days around it."""
    index = [(period, day) for period in rows["period"].unique() for day in days[period].date]
    names = ["period", "day"]
    return rows.set_index(names).reindex(pd.MultiIndex.from_tuples(index, names=names), fill_value=0).reset_index()


def _filters(view: View) -> tuple[dict[str, list[str]], str]:
    """Selected values by column, and the level below the selected locations."""
    locations, level = view.options(LOCATIONS), "country"
    selected: dict[str, list[str]] = {}
    columns = st.columns(4)
    for column, name, below in zip(columns, LEVELS, (*list(LEVELS)[1:], "city"), strict=False):
        with column:
            selected[f"locations.{name}"] = select_values(LEVELS[name], locations[name], name)
        if selected[f"locations.{name}"]:
            locations, level = locations[locations[name].isin(selected[f"locations.{name}"])], below
    with columns[3]:
        categories = view.options(CATEGORIES)["product_category"]
        selected["products.product_category"] = select_values("Category", categories, "category")
    return selected, level


def _filtered(query: Query, filters: dict[str, list[str]]) -> Query:
    for column, values in filters.items():
        query = query.only(column, values)
    return query
