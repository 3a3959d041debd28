"""Data quality: freshness, rejected rows with their reasons, reconciliation with the source databases."""

from functools import partial

import charts
import streamlit as st
from charts import OUTCOME_COLORS, Measure
from panel import View, count_outside, select_values, show_panel, show_totals
from period import select_period
from status import show_status

from meshflow.serve import Query

LAST_LOAD = Query("SELECT MAX(last_loaded_at) AS loaded_at FROM ops.table_freshness")
TABLES = ("ops.rejected_rows", "ops.row_reconciliation", "ops.source_reconciliation", "ops.table_freshness")
"""The tables that the page reads."""
SOURCE_TABLES = Query("SELECT source_table FROM ops.table_freshness")
DAYS = Query(
    "SELECT COALESCE(MAX(IFF(counts.updated_date <= loads.last_day, counts.updated_date, NULL)), CURRENT_DATE) "
    "AS last_day FROM ops.row_reconciliation AS counts "
    "CROSS JOIN (SELECT MAX(last_loaded_at)::DATE AS last_day FROM ops.table_freshness) AS loads HAVING COUNT(*) > 0"
)
"""A row written after it was loaded is an anomaly. The default is for sources that don't record when they write."""

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
    COALESCE(SUM(counts.missing_count), 0) AS missing,
    ROUND(100 * SUM(counts.rejected_count) / NULLIF(SUM(counts.loaded_count), 0), 2) AS rejected_percent
FROM ops.row_reconciliation AS counts
WHERE (counts.updated_date BETWEEN ? AND ? OR counts.updated_date IS NULL)
"""
OUTSIDE = """
SELECT
    COALESCE(SUM(IFF(counts.updated_date < ?, counts.loaded_count, 0)), 0) AS earlier_count,
    COALESCE(SUM(IFF(counts.updated_date > ?, counts.loaded_count, 0)), 0) AS later_count
FROM ops.row_reconciliation AS counts
"""
REJECTED = Measure("Rejected rows", "rejected_percent", "%", "Rejected rows by rows loaded")
MEASURES = (*(Measure(f"Rows {outcome}", outcome, "rows") for outcome in ("loaded", *OUTCOME_COLORS)), REJECTED)
ROWS = Measure("Rows", "row_count", "rows")
REJECTED_ROWS = Measure("Rejected rows", "rejected_count", "rows")
OVER_TIME = """
SELECT
    DATE_TRUNC('MONTH', counts.updated_date)::DATE AS month,
    SUM(counts.accepted_count) AS accepted,
    SUM(counts.deleted_count) AS deleted,
    SUM(counts.rejected_count) AS rejected,
    SUM(counts.missing_count) AS missing,
    ROUND(100 * SUM(counts.rejected_count) / NULLIF(SUM(counts.loaded_count), 0), 2) AS rejected_percent
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

NOTHING_REJECTED = "No row was rejected in this period."


def page(view: View) -> None:
    show_status(view, TABLES)
    bounds = view.options(DAYS).dropna()
    if bounds.empty:
        st.info("No rows are loaded: `ops.row_reconciliation` is empty. `meshflow load` and `meshflow run` fill it.")
        return
    with st.container(horizontal=True):
        tables = select_values("Table", view.options(SOURCE_TABLES)["source_table"], "table")
        period = select_period(bounds["last_day"].max(), "last 12 months", "updated")
    if not period:
        return
    show = partial(show_panel, view, last_load=LAST_LOAD)
    note = f"By date of last update in the source, {period}. Totals include rows without one."
    note += count_outside(view, Query(OUTSIDE, period.days).only("counts.source_table", tables), "rows")
    show_totals(view, Query(TOTAL, period.days).only("counts.source_table", tables), MEASURES, LAST_LOAD, note)
    over_time = Query(OVER_TIME, period.days).only("counts.source_table", tables)
    show(
        "Rejected rows by month, % of rows loaded",
        over_time,
        lambda rows, scale_max: charts.columns(
            rows.assign(month=period.labels(rows["month"])),
            scale_max,
            x="month",
            measure=REJECTED,
            every_x=period.labels(period.months),
        ),
        is_overlaid=True,
        maximum=lambda rows: rows["rejected_percent"].max(),
        note=period.star,
    )
    show(
        "Rows by month and outcome",
        over_time,
        lambda rows, scale_max: charts.stacks(
            rows.assign(month=period.labels(rows["month"])).melt(
                ["month"], list(OUTCOME_COLORS), "outcome", "row_count"
            ),
            scale_max,
            x="month",
            measure=ROWS,
            series="outcome",
            colors=OUTCOME_COLORS,
            every_x=period.labels(period.months),
        ),
        maximum=lambda rows: rows[list(OUTCOME_COLORS)].sum(axis=1).max(),
        note=period.star,
    )
    show(
        "Rejected rows by reason",
        Query(REASONS, period.days).only("rejected.source_table", tables),
        lambda rows, scale_max: charts.bars(
            rows.assign(reject_reason=rows["reject_reason"] + " · " + rows["source_table"]),
            scale_max,
            by="reject_reason",
            measure=REJECTED_ROWS,
        ),
        keys=2,
        is_overlaid=True,
        maximum=lambda rows: rows["rejected_count"].max(),
        note="A row with two reasons is counted under both. Open *Rows* for the remedy.",
        empty=NOTHING_REJECTED,
    )
    show(
        "Rejected rows by reason and month",
        Query(REASONS_OVER_TIME, period.days).only("rejected.source_table", tables),
        lambda rows, scale_max: charts.heat_map(
            rows.assign(month=period.labels(rows["month"])),
            scale_max,
            x="month",
            y="reject_reason",
            measure=REJECTED_ROWS,
            every_x=period.labels(period.months),
        ),
        keys=2,
        maximum=lambda rows: rows["rejected_count"].max(),
        note=period.star,
        empty=NOTHING_REJECTED,
    )
    show(
        "Last loads and freshness",
        Query(FRESHNESS).only("freshness.source_table", tables),
        note="last_loaded_at is the start of the newest load with a row, UTC. The period doesn't apply.",
    )
    show(
        "Reconciliation with the sources",
        Query(RECONCILIATION).only("counts.source_table", tables),
        note="The newest `meshflow reconcile` of each table, at counted_at. The period doesn't apply.",
        empty="Run `meshflow reconcile` to fill this.",
    )
