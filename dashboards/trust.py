"""Trust: how fresh it is, what was refused and why, whether all that the applications hold has arrived."""

from datetime import date, timedelta
from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from panel import View, panel, pick, say_if_stale, totals

from meshflow.serve import Query

LANDED = Query("SELECT MAX(last_landed_at) AS landed_at FROM ops.table_freshness")
STALEST = Query(
    "SELECT MIN(landed_at) AS landed_at FROM ("
    "SELECT MAX(last_landed_at) AS landed_at FROM ops.table_freshness GROUP BY SPLIT_PART(source_table, '.', 1)"
    ") AS applications"
)
"""One application may have stopped while the other goes on."""
TABLES = Query("SELECT source_table FROM ops.table_freshness")
DAYS = Query("SELECT MIN(updated_date) AS first_day, MAX(updated_date) AS last_day FROM ops.row_reconciliation")

FRESHNESS = """
SELECT freshness.source_table, freshness.last_landed_at, freshness.last_updated_at, freshness.days_since_landed,
    freshness.row_count, freshness.live_row_count
FROM ops.table_freshness AS freshness
ORDER BY freshness.source_table
"""
TOTAL = """
SELECT
    COALESCE(SUM(counts.landed_count), 0) AS landed,
    COALESCE(SUM(counts.accepted_count), 0) AS accepted,
    COALESCE(SUM(counts.deleted_count), 0) AS deleted,
    COALESCE(SUM(counts.refused_count), 0) AS refused,
    COALESCE(SUM(counts.missing_count), 0) AS missing
FROM ops.row_reconciliation AS counts
WHERE counts.updated_date BETWEEN ? AND ?
"""
OUTCOMES = ("accepted", "deleted", "refused", "missing")
FIGURES = {f"Rows {measure}": (measure, "rows") for measure in ("landed", *OUTCOMES)}
OVER_TIME = """
SELECT
    DATE_TRUNC('MONTH', counts.updated_date)::DATE AS month,
    SUM(counts.accepted_count) AS accepted,
    SUM(counts.deleted_count) AS deleted,
    SUM(counts.refused_count) AS refused,
    SUM(counts.missing_count) AS missing
FROM ops.row_reconciliation AS counts
WHERE counts.updated_date BETWEEN ? AND ?
GROUP BY DATE_TRUNC('MONTH', counts.updated_date)
ORDER BY month
"""
REASONS = """
SELECT refused.reject_reason AS reason, refused.source_table, SUM(refused.refused_count) AS refused_count,
    refused.remedy
FROM ops.refused_rows AS refused
WHERE refused.updated_date BETWEEN ? AND ?
GROUP BY refused.reject_reason, refused.source_table, refused.remedy
ORDER BY refused_count DESC, reason, refused.source_table
"""
REASONS_OVER_TIME = """
SELECT DATE_TRUNC('MONTH', refused.updated_date)::DATE AS month, refused.reject_reason AS reason,
    SUM(refused.refused_count) AS refused_count
FROM ops.refused_rows AS refused
WHERE refused.updated_date BETWEEN ? AND ?
GROUP BY DATE_TRUNC('MONTH', refused.updated_date), refused.reject_reason
ORDER BY month, reason
"""
RECONCILIATION = """
SELECT
    counts.source_table,
    SUM(counts.source_count) AS source_rows,
    SUM(counts.raw_count) AS raw_rows,
    SUM(counts.unlanded_count) AS unlanded_keys,
    SUM(counts.vanished_count) AS vanished_keys,
    COUNT_IF(NOT counts.is_equal) AS days_that_differ,
    SUM(counts.missing_count) AS rows_unaccounted_for,
    MAX(counts.counted_at) AS counted_at
FROM ops.source_reconciliation AS counts
GROUP BY counts.source_table
ORDER BY counts.source_table
"""


def page(view: View) -> None:
    say_if_stale(view, STALEST)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("Nothing has landed yet: `ops.row_reconciliation` is empty.")
        return
    tables, first, last = _filters(view, bounds["first_day"].min(), bounds["last_day"].max())
    if first > last:
        st.warning("The period ends before it begins: choose another day in From or To.")
        return
    draw = partial(panel, view, landed=LANDED)
    counted = "Days are those on which the application last wrote the rows."
    totals(view, Query(TOTAL, (first, last)).only("counts.source_table", tables), FIGURES, LANDED, counted)
    draw(
        "Last loads and freshness",
        Query(FRESHNESS).only("freshness.source_table", tables),
        note="last_landed_at is the start of the newest load that brought a row, UTC. The period doesn't apply.",
    )
    draw(
        "Rows accepted and refused, by month",
        Query(OVER_TIME, (first, last)).only("counts.source_table", tables),
        _outcomes,
        top=lambda rows: rows[list(OUTCOMES)].sum(axis=1).max(),
        note=counted,
    )
    draw(
        "Rows refused, by reason",
        Query(REASONS, (first, last)).only("refused.source_table", tables),
        lambda rows, highest: charts.bars(
            rows.assign(why=rows["reason"] + " · " + rows["source_table"]),
            highest,
            by="why",
            measure="refused_count",
            unit="rows",
        ),
        top=lambda rows: rows["refused_count"].max(),
        note="A row refused for two reasons counts under both. The rows below say what to do about each.",
    )
    draw(
        "Reasons by month",
        Query(REASONS_OVER_TIME, (first, last)).only("refused.source_table", tables),
        lambda rows, highest: charts.heat_map(
            rows.assign(month=rows["month"].map("{:%Y-%m}".format)),
            highest,
            x="month",
            y="reason",
            measure="refused_count",
            unit="rows",
        ),
        top=lambda rows: rows["refused_count"].max(),
    )
    draw(
        "Reconciliation with the applications",
        Query(RECONCILIATION).only("counts.source_table", tables),
        note="The newest `meshflow reconcile` of each table, counted at counted_at. The period doesn't apply.",
    )


def _filters(view: View, first: date, last: date) -> tuple[list[str], date, date]:
    left, middle, right = st.columns(3)
    with left:
        tables = pick("Table", view.options(TABLES)["source_table"])
    start = middle.date_input(
        "From", max(first, last - timedelta(days=364)), min_value=first, max_value=last, key="trust from"
    )
    return tables, start, right.date_input("To", last, min_value=first, max_value=last, key="trust to")


def _outcomes(rows: pd.DataFrame, highest: float) -> alt.Chart:
    """A column per outcome as a row per outcome."""
    long = rows.melt(["month"], list(OUTCOMES), "outcome", "row_count")
    long["month"] = long["month"].map("{:%Y-%m}".format)
    return charts.stacks(long, highest, x="month:O", measure="row_count", series="outcome", unit="rows")
