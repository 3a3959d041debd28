"""Retail: revenue, discount and orders over time, by location and by category, compared with the previous period."""

from datetime import date, timedelta
from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from panel import View, select_values, show_panel, show_totals, warn_if_late

from meshflow.serve import Query

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
    IFF(sales.order_date < ?, 'previous period', 'this period') AS period,
    {MEASURES}
GROUP BY sales.order_date ORDER BY period DESC, day
"""
"""By day; days of the previous period are shifted to the days they are compared with."""
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
LONGEST_DAILY_PERIOD = timedelta(days=92)
"""Longer periods are drawn by month."""


def page(view: View) -> None:
    warn_if_late(view, LAST_LOAD)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("No sales yet: `retail.fct_sales` is empty.")
        return
    earliest = bounds["first_day"].min()
    first, last, filters, level = _filters(view, earliest, bounds["last_day"].max())
    if first > last:
        st.warning("The period ends before it begins. Select another day in From or To.")
        return
    length = last - first + timedelta(days=1)
    previous = (first - length, first - timedelta(days=1))
    note, previous_total = "No data for the previous period.", None
    if previous[0] >= earliest:
        note = f"Change vs. previous period ({previous[0]} to {previous[1]})."
        previous_total = _filtered(Query(TOTAL, previous), filters)
    show_totals(view, _filtered(Query(TOTAL, (first, last)), filters), FIGURES, LAST_LOAD, note, previous_total)

    measure, unit = FIGURES[st.radio("Measure", FIGURES, horizontal=True, key="measure")]
    days = pd.date_range(first, last)
    if length > LONGEST_DAILY_PERIOD:
        over_time = Query(BY_MONTH, (first, last))
        days = pd.date_range(first.replace(day=1), last, freq="MS")
    elif st.toggle("Compare with previous period"):
        over_time = Query(BY_PERIOD, (first, length.days, first, previous[0], last))
    else:
        over_time = Query(BY_DAY, (first, last))
    show = partial(show_panel, view, maximum=lambda rows: rows[measure].max(), last_load=LAST_LOAD)

    def draw_line(rows: pd.DataFrame, scale_max: float) -> alt.Chart:
        return charts.line(_fill_gaps(rows, days), scale_max, day="day", measure=measure, series="period", unit=unit)

    show("Over time", _filtered(over_time, filters), draw_line)
    locations = _filtered(Query(BY_LOCATION[level], (first, last)), filters)
    title = f"By {LEVELS[level].lower()}"
    show(title, locations, partial(charts.bars, by="location", measure=measure, unit=unit))
    categories = _filtered(Query(BY_CATEGORY, (first, last)), filters)
    note = (
        "A product's category is that of its newest order. An order with several categories or locations is counted in "
        "each, so the bars don't add up to the total."
    )
    show("By category", categories, partial(charts.bars, by="category", measure=measure, unit=unit), note=note)


def _fill_gaps(rows: pd.DataFrame, days: pd.DatetimeIndex) -> pd.DataFrame:
    """Add a 0 for each day, or month, without a sale. Otherwise the line would connect the days around it."""
    index = pd.MultiIndex.from_product([rows["period"].unique(), days.date], names=["period", "day"])
    return rows.set_index(["period", "day"]).reindex(index, fill_value=0).reset_index()


def _filters(view: View, first: date, last: date) -> tuple[date, date, dict[str, list[str]], str]:
    """Period, selected values by column, and the level below the selected locations."""
    left, right = st.columns(2)
    start = left.date_input(
        "From", max(first, last - timedelta(days=89)), min_value=first, max_value=last, key="retail from"
    )
    end = right.date_input("To", last, min_value=first, max_value=last, key="retail to")
    locations, level = view.options(LOCATIONS), "country"
    selected: dict[str, list[str]] = {}
    columns = st.columns(4)
    for column, name, below in zip(columns, LEVELS, (*list(LEVELS)[1:], "city"), strict=False):
        with column:
            selected[f"locations.{name}"] = select_values(LEVELS[name], locations[name])
        if selected[f"locations.{name}"]:
            locations, level = locations[locations[name].isin(selected[f"locations.{name}"])], below
    with columns[3]:
        selected["products.product_category"] = select_values("Category", view.options(CATEGORIES)["product_category"])
    return start, end, selected, level


def _filtered(query: Query, filters: dict[str, list[str]]) -> Query:
    for column, values in filters.items():
        query = query.only(column, values)
    return query
