"""Trust: how fresh it is, what was rejected and why, whether all that the sources hold has arrived."""

from datetime import date, timedelta
from functools import partial

import altair as alt
import charts
import pandas as pd
import streamlit as st
from panel import View, panel, pick, totals, warn_if_late

from meshflow.serve import Query

LAST_LOAD = Query("SELECT MAX(last_loaded_at) AS loaded_at FROM ops.table_freshness")
STALEST = Query(
    "SELECT MIN(loaded_at) AS loaded_at FROM ("
    "SELECT MAX(last_loaded_at) AS loaded_at FROM ops.table_freshness GROUP BY SPLIT_PART(source_table, '.', 1)"
    ") AS sources"
)
"""One source may have stopped while the other goes on."""
TABLES = Query("SELECT source_table FROM ops.table_freshness")
DAYS = Query("SELECT MIN(updated_date) AS first_day, MAX(updated_date) AS last_day FROM ops.row_reconciliation")

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
WHERE counts.updated_date BETWEEN ? AND ?
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
SELECT rejected.reject_reason AS reason, rejected.source_table, SUM(rejected.rejected_count) AS rejected_count,
    rejected.remedy
FROM ops.rejected_rows AS rejected
WHERE rejected.updated_date BETWEEN ? AND ?
GROUP BY rejected.reject_reason, rejected.source_table, rejected.remedy
ORDER BY rejected_count DESC, reason, rejected.source_table
"""
REASONS_OVER_TIME = """
SELECT DATE_TRUNC('MONTH', rejected.updated_date)::DATE AS month, rejected.reject_reason AS reason,
    SUM(rejected.rejected_count) AS rejected_count
FROM ops.rejected_rows AS rejected
WHERE rejected.updated_date BETWEEN ? AND ?
GROUP BY DATE_TRUNC('MONTH', rejected.updated_date), rejected.reject_reason
ORDER BY month, reason
"""
RECONCILIATION = """
SELECT
    counts.source_table,
    SUM(counts.source_count) AS source_rows,
    SUM(counts.raw_count) AS raw_rows,
    SUM(counts.missing_in_raw_count) AS missing_in_raw_keys,
    SUM(counts.missing_in_source_count) AS missing_in_source_keys,
    COUNT_IF(NOT counts.is_equal) AS days_that_differ,
    SUM(counts.missing_count) AS rows_unaccounted_for,
    MAX(counts.counted_at) AS counted_at
FROM ops.source_reconciliation AS counts
GROUP BY counts.source_table
ORDER BY counts.source_table
"""


def page(view: View) -> None:
    warn_if_late(view, STALEST)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("Nothing has loaded yet: `ops.row_reconciliation` is empty.")
        return
    tables, first, last = _filters(view, bounds["first_day"].min(), bounds["last_day"].max())
    if first > last:
        st.warning("The period ends before it begins: choose another day in From or To.")
        return
    draw = partial(panel, view, last_load=LAST_LOAD)
    counted = "Days are those on which the source last wrote the rows."
    totals(view, Query(TOTAL, (first, last)).only("counts.source_table", tables), FIGURES, LAST_LOAD, counted)
    draw(
        "Last loads and freshness",
        Query(FRESHNESS).only("freshness.source_table", tables),
        note="last_loaded_at is the start of the newest load that brought a row, UTC. The period doesn't apply.",
    )
    draw(
        "Rows accepted and rejected, by month",
        Query(OVER_TIME, (first, last)).only("counts.source_table", tables),
        _outcomes,
        top=lambda rows: rows[list(OUTCOMES)].sum(axis=1).max(),
        note=counted,
    )
    draw(
        "Rows rejected, by reason",
        Query(REASONS, (first, last)).only("rejected.source_table", tables),
        lambda rows, highest: charts.bars(
            rows.assign(why=rows["reason"] + " · " + rows["source_table"]),
            highest,
            by="why",
            measure="rejected_count",
            unit="rows",
        ),
        top=lambda rows: rows["rejected_count"].max(),
        note="A row rejected for two reasons counts under both. The rows below say what to do about each.",
    )
    draw(
        "Reasons by month",
        Query(REASONS_OVER_TIME, (first, last)).only("rejected.source_table", tables),
        lambda rows, highest: charts.heat_map(
            rows.assign(month=rows["month"].map("{:%Y-%m}".format)),
            highest,
            x="month",
            y="reason",
            measure="rejected_count",
            unit="rows",
        ),
        top=lambda rows: rows["rejected_count"].max(),
    )
    draw(
        "Reconciliation with the sources",
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
