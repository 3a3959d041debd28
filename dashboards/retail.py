"""Retail: revenue, discount and orders over time, by place and by category, a period against the one before."""

from datetime import date, timedelta
from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from panel import View, panel, pick, totals, warn_if_late

from meshflow.serve import Query

LAST_LOAD = Query("SELECT MAX(_loaded_at) AS loaded_at FROM retail.fct_sales")
DAYS = Query("SELECT MIN(order_date) AS first_day, MAX(order_date) AS last_day FROM retail.fct_sales")
PLACES = Query("SELECT DISTINCT country, province, city FROM shared.dim_location")
CATEGORIES = Query("SELECT DISTINCT product_category FROM retail.dim_product")

FIGURES = """
    COUNT(DISTINCT sales.order_id) AS orders,
    COALESCE(SUM(sales.total_discount_amount), 0) AS discount,
    COALESCE(SUM(sales.net_revenue_amount), 0) AS net_revenue
FROM retail.fct_sales AS sales
LEFT JOIN shared.dim_location AS locations ON sales.location_id = locations.location_id
LEFT JOIN retail.dim_product AS products ON sales.product_id = products.product_id
WHERE sales.order_date BETWEEN ? AND ?
"""
"""A line counts before its place and product do, which a run that is at work, or has failed, may not have reached."""
TOTAL = f"SELECT {FIGURES}"
BY_DAY = f"SELECT sales.order_date AS day, 'this period' AS period, {FIGURES} GROUP BY sales.order_date ORDER BY day"
BY_MONTH = f"""
SELECT DATE_TRUNC('MONTH', sales.order_date)::DATE AS day, 'this period' AS period, {FIGURES}
GROUP BY DATE_TRUNC('MONTH', sales.order_date) ORDER BY day
"""
BY_PERIOD = f"""
SELECT
    sales.order_date + IFF(sales.order_date < ?, ?, 0) AS day,
    IFF(sales.order_date < ?, 'period before', 'this period') AS period,
    {FIGURES}
GROUP BY sales.order_date ORDER BY period DESC, day
"""
"""By day, the days of the period before moved to those they are compared with."""
BY_CATEGORY = f"""
SELECT COALESCE(products.product_category, 'Unknown') AS category, {FIGURES}
GROUP BY COALESCE(products.product_category, 'Unknown') ORDER BY net_revenue DESC, category
"""
BY_PLACE = {
    level: f"""
SELECT COALESCE({name}, 'Unknown') AS place, {FIGURES}
GROUP BY COALESCE({name}, 'Unknown') ORDER BY net_revenue DESC, place
"""
    for level, name in {
        "country": "locations.country",
        "state": "locations.province || ', ' || locations.country",
        "city": "locations.city || ', ' || locations.province || ', ' || locations.country",
    }.items()
}
"""There is a London in Ontario too, so a place is called by its whole name."""

MEASURES = {"Net revenue": ("net_revenue", "USD"), "Discount": ("discount", "USD"), "Orders": ("orders", "orders")}
DAILY = timedelta(days=92)
"""Longer periods are drawn by month."""


def page(view: View) -> None:
    warn_if_late(view, LAST_LOAD)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("Nothing has been sold yet: `retail.fct_sales` is empty.")
        return
    beginning = bounds["first_day"].min()
    first, last, filters, level = _filters(view, beginning, bounds["last_day"].max())
    if first > last:
        st.warning("The period ends before it begins: choose another day in From or To.")
        return
    length = last - first + timedelta(days=1)
    before = (first - length, first - timedelta(days=1))
    change, total_before = "The data don't reach back to a period before.", None
    if before[0] >= beginning:
        change, total_before = f"Change from {before[0]} to {before[1]}.", _filtered(Query(TOTAL, before), filters)
    totals(view, _filtered(Query(TOTAL, (first, last)), filters), MEASURES, LAST_LOAD, change, total_before)

    measure, unit = MEASURES[st.radio("Measure", MEASURES, horizontal=True, key="measure")]
    days = pd.date_range(first, last)
    if length > DAILY:
        over_time = Query(BY_MONTH, (first, last))
        days = pd.date_range(first.replace(day=1), last, freq="MS")
    elif st.toggle("Show the period before"):
        over_time = Query(BY_PERIOD, (first, length.days, first, before[0], last))
    else:
        over_time = Query(BY_DAY, (first, last))
    chart = partial(panel, view, top=lambda rows: rows[measure].max(), last_load=LAST_LOAD)

    def draw(rows: pd.DataFrame, highest: float) -> alt.Chart:
        return charts.line(_with_quiet(rows, days), highest, day="day", measure=measure, series="period", unit=unit)

    chart("Over time", _filtered(over_time, filters), draw)
    places = _filtered(Query(BY_PLACE[level], (first, last)), filters)
    chart(f"By {level}", places, partial(charts.bars, by="place", measure=measure, unit=unit))
    categories = _filtered(Query(BY_CATEGORY, (first, last)), filters)
    note = "A product's category is that of its newest order. An order counts once in each category and place it has."
    chart("By category", categories, partial(charts.bars, by="category", measure=measure, unit=unit), note=note)


def _with_quiet(rows: pd.DataFrame, days: pd.DatetimeIndex) -> pd.DataFrame:
    """With a 0 for each day, or month, on which nothing was sold: a line would run straight across it."""
    every = pd.MultiIndex.from_product([rows["period"].unique(), days.date], names=["period", "day"])
    return rows.set_index(["period", "day"]).reindex(every, fill_value=0).reset_index()


def _filters(view: View, first: date, last: date) -> tuple[date, date, dict[str, list[str]], str]:
    """Period, values by column, and the level below the places chosen."""
    left, right = st.columns(2)
    start = left.date_input(
        "From", max(first, last - timedelta(days=89)), min_value=first, max_value=last, key="retail from"
    )
    end = right.date_input("To", last, min_value=first, max_value=last, key="retail to")
    places, level = view.options(PLACES), "country"
    chosen: dict[str, list[str]] = {}
    columns = st.columns(4)
    levels = (("country", "Country", "state"), ("province", "State", "city"), ("city", "City", "city"))
    for column, (name, label, below) in zip(columns, levels, strict=False):
        with column:
            chosen[f"locations.{name}"] = pick(label, places[name])
        if chosen[f"locations.{name}"]:
            places, level = places[places[name].isin(chosen[f"locations.{name}"])], below
    with columns[3]:
        chosen["products.product_category"] = pick("Category", view.options(CATEGORIES)["product_category"])
    return start, end, chosen, level


def _filtered(query: Query, filters: dict[str, list[str]]) -> Query:
    for column, values in filters.items():
        query = query.only(column, values)
    return query
