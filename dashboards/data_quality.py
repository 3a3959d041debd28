"""Data quality: freshness, rejected rows with their reasons, reconciliation with the source databases."""

from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from panel import View, select_values, show_panel, show_totals
from period import select_period
from status import show_status

from meshflow.serve import Query

LAST_LOAD = Query("SELECT MAX(last_loaded_at) AS loaded_at FROM ops.table_freshness")
TABLES = ("ops.rejected_rows", "ops.row_reconciliation", "ops.source_reconciliation", "ops.table_freshness")
"""The tables that the page reads."""
SOURCE_TABLES = Query("SELECT source_table FROM ops.table_freshness")
DAYS = Query(
    "SELECT COALESCE(MIN(updated_date), CURRENT_DATE) AS first_day, "
    "COALESCE(MAX(updated_date), CURRENT_DATE) AS last_day FROM ops.row_reconciliation HAVING COUNT(*) > 0"
)
"""The default is for sources that don't record when they wrote a row."""

FRESHNESS = """
SELECT freshness.source_table, freshness.last_loaded_at, freshness.last_updated_at, freshness.days_since_loaded,
    freshness.row_count, freshness.active_row_count
FROM ops.table_freshness AS freshness
ORDER BY freshness.source_table
"""
TOTAL = """
SELECT
    COALESCE(SUM(counts.loaded_count), 0) AS loaded,
    COALESCE(SUM(counts.accepted_count), 0) AS accepted,
    COALESCE(SUM(counts.deleted_count), 0) AS deleted,
    COALESCE(SUM(counts.rejected_count), 0) AS rejected,
    COALESCE(SUM(counts.missing_count), 0) AS missing
FROM ops.row_reconciliation AS counts
WHERE (counts.updated_date BETWEEN ? AND ? OR counts.updated_date IS NULL)
"""
OUTCOMES = ("accepted", "deleted", "rejected", "missing")
FIGURES = {f"Rows {measure}": (measure, "rows") for measure in ("loaded", *OUTCOMES)}
OVER_TIME = """
SELECT
    DATE_TRUNC('MONTH', counts.updated_date)::DATE AS month,
    SUM(counts.accepted_count) AS accepted,
    SUM(counts.deleted_count) AS deleted,
    SUM(counts.rejected_count) AS rejected,
    SUM(counts.missing_count) AS missing
FROM ops.row_reconciliation AS counts
WHERE counts.updated_date BETWEEN ? AND ?
GROUP BY DATE_TRUNC('MONTH', counts.updated_date)
ORDER BY month
"""
REASONS = """
SELECT rejected.reject_reason, rejected.source_table, SUM(rejected.rejected_count) AS rejected_count, rejected.remedy
FROM ops.rejected_rows AS rejected
WHERE (rejected.updated_date BETWEEN ? AND ? OR rejected.updated_date IS NULL)
GROUP BY rejected.reject_reason, rejected.source_table, rejected.remedy
ORDER BY rejected_count DESC, rejected.reject_reason, rejected.source_table
"""
REASONS_OVER_TIME = """
SELECT DATE_TRUNC('MONTH', rejected.updated_date)::DATE AS month, rejected.reject_reason,
    SUM(rejected.rejected_count) AS rejected_count
FROM ops.rejected_rows AS rejected
WHERE rejected.updated_date BETWEEN ? AND ?
GROUP BY DATE_TRUNC('MONTH', rejected.updated_date), rejected.reject_reason
ORDER BY month, rejected.reject_reason
"""
RECONCILIATION = """
SELECT
    counts.source_table,
    SUM(counts.source_count) AS source_count,
    SUM(counts.raw_count) AS raw_count,
    SUM(counts.missing_in_raw_count) AS missing_in_raw_count,
    SUM(counts.missing_in_source_count) AS missing_in_source_count,
    COUNT_IF(NOT counts.is_equal) AS mismatched_day_count,
    SUM(counts.missing_count) AS missing_count,
    MAX(counts.counted_at) AS counted_at
FROM ops.source_reconciliation AS counts
GROUP BY counts.source_table
ORDER BY counts.source_table
"""


def page(view: View) -> None:
    show_status(view, TABLES)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("No rows have been loaded yet: `ops.row_reconciliation` is empty.")
        return
    left, right = st.columns(2)
    with left:
        tables = select_values("Table", view.options(SOURCE_TABLES)["source_table"], "table")
    with right:
        period = select_period(bounds["last_day"].max(), "last 12 months", "updated")
    if not period:
        return
    show = partial(show_panel, view, last_load=LAST_LOAD)
    dates = f"By date of last update in the source, {period}. Totals include rows without one."
    show_totals(view, Query(TOTAL, period.days).only("counts.source_table", tables), FIGURES, LAST_LOAD, dates)
    show(
        "Last loads and freshness",
        Query(FRESHNESS).only("freshness.source_table", tables),
        note="last_loaded_at is the start of the newest load with a row, UTC. The period doesn't apply.",
    )
    show(
        "Accepted and rejected rows by month",
        Query(OVER_TIME, period.days).only("counts.source_table", tables),
        _outcomes,
        maximum=lambda rows: rows[list(OUTCOMES)].sum(axis=1).max(),
        note=dates,
    )
    show(
        "Rejected rows by reason",
        Query(REASONS, period.days).only("rejected.source_table", tables),
        lambda rows, scale_max: charts.bars(
            rows.assign(reject_reason=rows["reject_reason"] + " · " + rows["source_table"]),
            scale_max,
            by="reject_reason",
            measure="rejected_count",
            unit="rows",
        ),
        maximum=lambda rows: rows["rejected_count"].max(),
        note="A row with two reasons is counted under both. Open *Rows* for the remedy.",
    )
    show(
        "Reject reasons by month",
        Query(REASONS_OVER_TIME, period.days).only("rejected.source_table", tables),
        lambda rows, scale_max: charts.heat_map(
            rows.assign(month=rows["month"].map("{:%Y-%m}".format)),
            scale_max,
            x="month",
            y="reject_reason",
            measure="rejected_count",
            unit="rows",
        ),
        maximum=lambda rows: rows["rejected_count"].max(),
    )
    show(
        "Reconciliation with the sources",
        Query(RECONCILIATION).only("counts.source_table", tables),
        note="The newest `meshflow reconcile` of each table, at counted_at. The period doesn't apply.",
        empty="Run `meshflow reconcile` to fill this.",
    )


def _outcomes(rows: pd.DataFrame, scale_max: float) -> alt.Chart:
    """A stacked bar per month, from a column per outcome."""
    long = rows.melt(["month"], list(OUTCOMES), "outcome", "row_count")
    long["month"] = long["month"].map("{:%Y-%m}".format)
    return charts.stacks(long, scale_max, x="month:O", measure="row_count", series="outcome", unit="rows")
