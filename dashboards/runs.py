"""Runs: what ran, how long it took and how it ended, model by model; audits, loads, and what is late."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import altair as alt
import charts
import pandas as pd
import streamlit as st
from charts import LOAD_COLORS, Measure
from panel import View, caption, format_timestamp, show_panel, to_utc
from status import is_running, show_status

from meshflow.remedies import REMEDIES, RUNBOOK
from meshflow.serve import Query

SLOWEST = 15
"""Models in the chart, and audits with their query."""
DURATION = Measure("Duration", "duration_seconds", "seconds")
PERIODS = {"1 day": 1, "7 days": 7, "30 days": 30, "90 days": 90}

RUNS = """
SELECT
    runs.started_at, runs.environment, runs.command, IFF(runs.status = 'running', ?, runs.status) AS status,
    runs.duration_seconds, runs.usual_seconds, runs.succeeded_model_count, runs.failed_model_count,
    runs.skipped_model_count, runs.warned_audit_count, runs.failed_models, runs.error_class, runs.git_commit,
    runs.run_id
FROM ops.runs AS runs
WHERE runs.environment = ? AND runs.started_at >= ?
ORDER BY runs.started_at DESC
LIMIT 500
"""
"""The newest ones: more points would cover each other."""
MODELS = """
SELECT
    models.model, models.status, models.duration_seconds, models.interval_count, models.interval_start_at,
    models.interval_end_at, models.row_count, models.error_class, models.because_of
FROM ops.model_runs AS models
WHERE models.run_id = ?
ORDER BY models.duration_seconds DESC, models.model
"""
AUDITS = """
SELECT audits.model, audits.audit, audits.arguments, audits.status, audits.row_count, audits.query
FROM ops.audit_results AS audits
WHERE audits.run_id = ? AND audits.status <> 'passed'
ORDER BY audits.is_blocking DESC, audits.row_count DESC, audits.model, audits.audit
"""
AUDITS_OVER_TIME = """
SELECT
    DATE_TRUNC('DAY', runs.started_at)::DATE AS day,
    audits.model || ' · ' || audits.audit AS audit,
    MAX(audits.row_count) AS row_count
FROM ops.audit_results AS audits
INNER JOIN ops.runs AS runs ON audits.run_id = runs.run_id
WHERE runs.environment = ? AND runs.started_at >= ? AND audits.status <> 'passed'
GROUP BY DATE_TRUNC('DAY', runs.started_at), audits.model || ' · ' || audits.audit
ORDER BY day, audit
"""
LOADS = """
SELECT
    loads.source_table,
    COUNT(*) AS load_count,
    SUM(IFF(loads.status = 'finished' AND loads.row_count > 0, 1, 0)) AS with_rows_count,
    SUM(IFF(loads.status = 'finished' AND loads.row_count = 0, 1, 0)) AS empty_count,
    SUM(IFF(loads.status <> 'finished', 1, 0)) AS failed_count,
    SUM(loads.row_count) AS row_count,
    MAX(IFF(loads.status = 'finished', loads.started_at, NULL)) AS last_finished_at,
    MAX(IFF(loads.status = 'finished' AND loads.row_count > 0, loads.started_at, NULL)) AS last_with_rows_at,
    MAX(IFF(loads.status <> 'finished', loads.started_at, NULL)) AS last_failed_at
FROM ops.loads AS loads
WHERE loads.started_at >= ?
GROUP BY loads.source_table
ORDER BY loads.source_table
"""
LOADS_OVER_TIME = """
SELECT
    DATE_TRUNC('DAY', loads.started_at)::DATE AS day,
    CASE
        WHEN loads.status <> 'finished' THEN loads.status
        WHEN loads.row_count = 0 THEN 'without rows'
        ELSE 'with rows'
    END AS outcome,
    COUNT(*) AS load_count
FROM ops.loads AS loads
WHERE loads.started_at >= ?
GROUP BY ALL
ORDER BY day, outcome
"""
ALL_FRESHNESS = """
SELECT
    IFF(freshness.late_at < ?, 'late', 'in time') AS status, freshness.model, freshness.processed_until,
    freshness.late_at, freshness.laggard, freshness.failed_models
FROM ops.model_freshness AS freshness
WHERE freshness.environment = ?
ORDER BY status DESC, freshness.late_at, freshness.model
"""


def page(view: View) -> None:
    # The runs of all environments are in one table, so two environments are shown one below the other.
    days = PERIODS[
        st.segmented_control("Period", PERIODS, default="7 days", required=True, key="since", bind="query-params")
    ]
    # By the minute: results are cached by their parameters.
    now = datetime.now(UTC).replace(second=0, microsecond=0, tzinfo=None)
    show_status(view)
    for environment in view.environments:
        one = replace(view, environments=(environment,))
        if len(view.environments) > 1:
            st.header(f"Environment {environment}")
        _show_environment(one, environment, now - timedelta(days=days), now)


def _show_environment(view: View, environment: str, since: datetime, now: datetime) -> None:
    runs = Query(RUNS, ("running" if is_running(view) else "killed", environment, since))
    show_panel(
        view,
        "Duration of runs, seconds",
        runs,
        _points,
        maximum=lambda rows: rows["duration_seconds"].fillna(0).max(),
        note="A killed run is drawn at 0: its duration isn't known. usual_seconds is the median of such runs.",
        empty=f"No run of {environment} is recorded in this period.",
    )
    _show_run(view, environment, view.run(environment, runs))
    show_panel(
        view,
        "Rows found by audits, by day",
        Query(AUDITS_OVER_TIME, (environment, since)),
        lambda rows, scale_max: charts.heat_map(
            rows.assign(day=rows["day"].map("{:%d %b}".format)),
            scale_max,
            x="day",
            y="audit",
            measure=Measure("Rows", "row_count", "rows"),
        ),
        maximum=lambda rows: rows["row_count"].max(),
        note="The most rows that a run of the day found.",
        empty="No audit has found a row.",
    )
    empty = "No load is recorded. Sample data are not loaded." if view.warehouse.is_sample else "No load is recorded."
    show_panel(
        view,
        "Loads by day",
        Query(LOADS_OVER_TIME, (since,)),
        lambda rows, scale_max: charts.stacks(
            rows.assign(day=rows["day"].map("{:%d %b}".format)),
            scale_max,
            x="day",
            measure=Measure("Loads", "load_count", "loads"),
            series="outcome",
            colors=LOAD_COLORS,
        ),
        maximum=lambda rows: rows.groupby("day")["load_count"].sum().max(),
        note="Attempts to load a table. Runs record them, so those after the last run are missing.",
        empty=empty,
    )
    show_panel(view, "Loads by table", Query(LOADS, (since,)), empty=empty)
    show_panel(
        view,
        "Freshness",
        Query(ALL_FRESHNESS, (now, environment)),
        note="As of the last run. `meshflow freshness` counts loads since.",
        empty="No freshness is recorded: no run has ended, or no model reads a source.",
    )


def _points(rows: pd.DataFrame, scale_max: float) -> alt.Chart:
    rows = rows.fillna({"duration_seconds": 0})
    return charts.points(rows, scale_max, x="started_at", measure=DURATION, by="status")


def _show_run(view: View, environment: str, runs: pd.DataFrame) -> None:
    if runs.empty:
        return
    labels = {
        run["run_id"]: f"{format_timestamp(to_utc(run['started_at']))}: {run['command']}, {run['status']}"
        for _, run in runs.iterrows()
    }
    bad = runs[~runs["status"].isin(["succeeded", "nothing_due"])]["run_id"]
    first = bad.iloc[0] if not bad.empty else runs["run_id"].iloc[0]
    run_id = st.selectbox(
        "Run",
        list(labels),
        index=list(labels).index(first),
        format_func=labels.__getitem__,
        key=f"run of {environment}",
    )
    show_panel(
        view,
        "Models of this run, seconds",
        Query(MODELS, (run_id,)),
        lambda rows, scale_max: charts.bars(
            rows.dropna(subset="duration_seconds").head(SLOWEST),
            scale_max,
            by="model",
            measure=DURATION,
        ),
        maximum=lambda rows: rows["duration_seconds"].fillna(0).max(),
        note=f"The {SLOWEST} slowest. Open *Rows* for all, with status, intervals, and because of whom it was skipped.",
        empty="This run computed no model, or was killed: models are recorded at the end of a run.",
    )
    found = view.run(environment, Query(AUDITS, (run_id,)))
    show_panel(
        view,
        "Audits of this run that found rows",
        Query(AUDITS, (run_id,)),
        note=f"Blocking ones first. {RUNBOOK} has more on each.",
        empty="No audit found a row.",
    )
    for _, audit in found.head(SLOWEST).iterrows():
        with st.expander(f"`{audit['audit']}` on `{audit['model']}`: {audit['row_count']:,} rows, {audit['status']}"):
            caption(REMEDIES.get(audit["audit"], ""))
            st.code(audit["query"], language="sql")
