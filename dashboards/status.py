"""What is wrong with the figures of a page: models that failed, a run that failed or was killed, data that is late."""

from collections.abc import Collection
from datetime import UTC, datetime

import click
import pandas as pd
import streamlit as st
from panel import View, caption, format_age, format_timestamp, freshness, run_or_error, to_utc

from meshflow.serve import Query

LAST_RUN = """
SELECT runs.command, runs.status, runs.started_at, runs.ended_at, runs.error_class, runs.failed_models
FROM ops.runs AS runs
WHERE runs.environment = ?
ORDER BY runs.started_at DESC
LIMIT 1
"""
FAILING = """
SELECT
    failing.model, failing.failing_since, failing.failed_run_count, failing.error_class, failing.audits,
    failing.row_count
FROM ops.failing_models AS failing
WHERE failing.environment = ?
ORDER BY failing.failing_since, failing.model
"""


def is_running(view: View) -> bool:
    """Whether a run without an end may still be running. DuckDB's snapshots are taken while no process is."""
    return view.state.snapshot is None


def show_status(view: View, tables: Collection[str] | None = None) -> None:
    """Show for each environment how its last run ended, and what is wrong with `tables`, or with all."""
    # One element of the page, however much it says: filters that move are no longer written into the URL.
    with st.container():
        if view.warehouse.is_sample:
            caption("Sample data up to 31 Oct 2026; relative dates use 1 Nov 2026.")
        for environment in view.environments:
            _show_environment(view, environment, tables)


def _show_environment(view: View, environment: str, tables: Collection[str] | None) -> None:
    runs, failing = (run_or_error(view, environment, Query(sql, (environment,))) for sql in (LAST_RUN, FAILING))
    if isinstance(failing, click.ClickException) or isinstance(runs, click.ClickException):
        problem = failing if isinstance(failing, click.ClickException) else runs
        caption(f"How the last run of {environment} ended can't be read: {problem}")
        return
    if runs.empty:
        caption(f"No run of {environment} is recorded. `meshflow run` and `meshflow plan` record theirs.")
        return
    known = freshness(view, environment, tables)
    concerned = {model for models in known["failed_models"].dropna() for model in models.split(", ")}
    # Of the sample, which reads no source, nothing is known but the failed models.
    is_all = tables is None or view.warehouse.is_sample
    shown = failing if is_all else failing[failing["model"].isin(concerned)]
    _show_failing(environment, shown)
    _show_run(view, environment, runs.iloc[0], shown)
    _show_late(environment, known)


def _show_failing(environment: str, failing: pd.DataFrame) -> None:
    for _, model in failing.iterrows():
        since = f"since {format_timestamp(to_utc(model['failing_since']))}"
        reason = f"{model['error_class']}; see docs/runbooks/errors.md"
        if model["audits"]:
            reason = (
                f"audit {model['audits']} found {_count(model['row_count'], 'row')}; see docs/runbooks/failed-audit.md"
            )
        st.error(
            f"`{model['model']}` in {environment} has failed {since}, in {_count(model['failed_run_count'], 'run')}: "
            f"{reason}. Figures on this page that read it lack newer rows. Page Runs has more."
        )


def _show_run(view: View, environment: str, run: pd.Series, failing: pd.DataFrame) -> None:
    """How the run ended, unless that is said by `failing`, the models that are shown to fail."""
    status = "killed" if run["status"] == "running" and not is_running(view) else run["status"]
    name = f"The last {run['command']} of {environment}, started {format_timestamp(to_utc(run['started_at']))},"
    if status == "killed":
        st.warning(f"{name} was killed. Figures may lack newer rows until the next run. See docs/runbooks/runs.md.")
    elif status == "failed" and (run["command"] == "plan" or not run["failed_models"]):
        at = f" at {run['failed_models']}" if run["failed_models"] else ""
        st.error(f"{name} failed{at}: {run['error_class']}. See docs/runbooks/runs.md.")
    elif status == "failed" and failing.empty:
        caption(f"{name} failed at {run['failed_models']}. This page reads none of it.")
    elif status in {"succeeded", "nothing_due"}:
        outcome = "succeeded" if status == "succeeded" else "found nothing due"
        caption(f"The last {run['command']} of {environment} {outcome} {format_age(to_utc(run['ended_at']))}.")
    elif status == "running":
        caption(f"{name} hasn't ended.")


def _show_late(environment: str, known: pd.DataFrame) -> None:
    now = datetime.now(UTC)
    late = known[[pd.notna(at) and to_utc(at) < now for at in known["late_at"]]]
    if not late.empty:
        first = late.iloc[0]
        st.warning(
            f"Data in {environment} is late: `{first['model']}` since {format_timestamp(to_utc(first['late_at']))}. "
            f"`{first['laggard']}` keeps it behind. See docs/runbooks/late-data.md."
        )


def _count(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"
