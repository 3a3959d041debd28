"""The scheduled run of prod: under the prod lock, on the models of the checkout, with a job summary."""

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlmesh.core.console import get_console, set_console
from sqlmesh.core.plan import Plan
from sqlmesh.utils.date import to_datetime

from meshflow.ci import github
from meshflow.ci.console import PublicConsole
from meshflow.ci.lock import Lock, prod_lock
from meshflow.ci.prod import apply_checked
from meshflow.failures import describe, explain, full_text
from meshflow.freshness import describe_late
from meshflow.names import table_name
from meshflow.project import open_project
from meshflow.remedies import RUNBOOK, advice, remedies
from meshflow.runs import ModelRun, Record, RecordedProject

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """A run of prod. `due` is false if there was nothing to run.

    `drift_repaired` is why prod had to be planned first, or empty; `drifted` names the models that differed.
    """

    record: Record = field(default_factory=Record)
    owners: dict[str, str] = field(default_factory=dict)
    """The owner of each model, by SQLMesh's name."""
    failing_since: dict[str, datetime] = field(default_factory=dict)
    """Start of the first run since which a model has failed, UTC, such as retail.fct_sales."""
    drift_repaired: str = ""
    drifted: list[str] = field(default_factory=list)
    due: bool = True
    failure: str = ""
    undropped: str = ""
    """Why expired tables weren't dropped. It fails no run."""
    late: str = ""
    """Which data is late, although all that could be computed was."""
    error: BaseException | None = None
    """What ended it, if that is no model."""
    seconds: float = field(default=0, init=False)


def run(path: Path, gateway: str) -> None:
    """Run prod under the prod lock, after applying the project at `path` if the two differ.

    They differ if a deploy was killed, or if GitHub rejected its merge. The lock is the one that deploys take; it is in
    the PostgreSQL that has SQLMesh's state. State in a DuckDB file needs none, as only one process can open that.
    Raises click.ClickException if the run fails, if data is late, or naming the holder of the lock.
    """
    try:
        with _hold_prod_lock() as lock:
            # GitHub's queue doesn't allow it, so it is somebody elsewhere, or a job that was killed: worth an alert.
            locked = f"Nothing was run: prod is locked by {lock}" if isinstance(lock, str) else ""
            outcome = Outcome(failure=locked) if locked else run_prod(path, gateway)
    except click.ClickException as error:
        outcome = Outcome(failure=error.message)
    github.write_summary(summary(outcome))
    if problem := outcome.failure or outcome.late:
        github.write_outputs(incident=incident(outcome))
        raise click.ClickException(problem)
    if not outcome.due:
        click.echo("Nothing was due")


def _hold_prod_lock() -> AbstractContextManager[Lock | str | None]:
    return prod_lock("run") if os.environ.get("MESHFLOW_STATE_HOST") else nullcontext()


def run_prod(path: Path, gateway: str) -> Outcome:
    """Apply the project at `path` to prod if the two differ, then compute what is due.

    Raises click.ClickException if there is no prod yet: a person applies the first plan of a warehouse.
    """
    before = get_console()
    set_console(PublicConsole())
    outcome, context = Outcome(), None
    start = time.monotonic()
    try:
        context = open_project(gateway, path=path, kind=RecordedProject, holds_lock=True)
        _repair_drift(context, outcome)
        snapshots = context.prod()
        outcome.owners = {one.name: one.node.owner or "" for one in snapshots.values()}
        status = context.run("prod", skip_janitor=True)
        # SQLMesh has work to do for intervals that their signals hold back, too.
        outcome.due = bool(context.record.models) or status.is_failure
        outcome.failure = "The run of prod has failed" if status.is_failure else ""
        outcome.undropped = _drop_expired(context)
    except click.ClickException:
        raise
    except Exception as error:  # noqa: BLE001 - a driver's too: the summary reports any
        # Models that failed have been explained by the console.
        is_explained = context is not None and any(one.error for one in context.record.models.values())
        outcome.failure, outcome.error = "The run of prod has failed", error
        outcome.failure += "" if is_explained else f": {explain(error)}"
    finally:
        set_console(before)
        outcome.seconds = time.monotonic() - start
    if context is not None:
        outcome.record = context.record
        if outcome.record.failures:
            outcome.failure += f" at {', '.join(map(table_name, outcome.record.failures))}"
            outcome.failing_since = _failing_since(context)
        now, known = datetime.now(UTC), outcome.record.freshness
        if late := [one for one in known if one.is_late(now)]:
            outcome.late = describe_late(late, len(known), "prod")
    return outcome


def _drop_expired(context: RecordedProject) -> str:
    """Drop what has expired, and return why that failed, or ''.

    SQLMesh does it before a run, which one row of the state that can't be dropped would stop.
    """
    try:
        context.run_janitor(ignore_ttl=False)
    except Exception as error:  # noqa: BLE001 - a driver's too: the summary reports any
        reason = f"Expired tables were not dropped: {explain(error)}"
        click.echo(f"{'::warning::' if os.environ.get('GITHUB_ACTIONS') else ''}{reason}")
        return reason
    return ""


def _failing_since(context: RecordedProject) -> dict[str, datetime]:
    """Since when models of prod fail, from the record of runs; empty if it can't be read."""
    try:
        query = "SELECT model, failing_since FROM ops.failing_models WHERE environment = 'prod'"
        return {model: to_datetime(since) for model, since in context.engine_adapter.fetchall(query)}
    except Exception as error:
        logger.warning("ops.failing_models can't be read", exc_info=error)
        return {}


def _repair_drift(context: RecordedProject, outcome: Outcome) -> None:
    # As a deploy does it: existing tables are promoted, nothing is computed twice.
    plan = context.plan_builder("prod", no_gaps=True, skip_tests=True, skip_linter=True).build()
    if plan.context_diff.is_new_environment:
        raise click.ClickException("There is no prod yet: `sqlmesh plan prod` builds it")
    if not plan.has_changes:
        return
    outcome.drift_repaired, outcome.drifted = _why(plan)
    prefix = "::notice::" if os.environ.get("GITHUB_ACTIONS") else ""
    click.echo(f"{prefix}{outcome.drift_repaired}: {', '.join(outcome.drifted) or 'no model differs'}")
    apply_checked(context, plan)


def _why(plan: Plan) -> tuple[str, list[str]]:
    """Why prod differs from the checkout, and the models that differ."""
    difference = plan.context_diff
    names = {one.name for one in (*difference.added, *difference.removed_snapshots)} | set(
        difference.modified_snapshots
    )
    if difference.is_unfinalized_environment:
        reason = "A deploy was killed while it promoted prod"
    elif names:
        reason = "Prod differed from the checkout"
    else:
        reason = "Prod had other settings than the checkout"
    return f"{reason}, so it was planned again", sorted(map(table_name, names))


def incident(outcome: Outcome) -> str:
    """What failed, in a line, and a line for each model: owner, since when, audits with rows and remedies. Markdown.

    The first line is the same as long as the same fails: it has no counts and no ids.
    """
    if not outcome.failure:
        return f"Late: data of prod\n\n- {outcome.late}"
    if not outcome.record.failures:
        kind = type(outcome.error).__name__ if outcome.error else "before the first model"
        return f"Failed: {kind}\n\n- {outcome.failure}"
    reasons = [f"{_code(name)} ({', '.join(_reasons(outcome, name))})" for name in outcome.record.failures]
    return "\n".join([f"Failed: {', '.join(reasons)}", "", *_failures(outcome)])


def _reasons(outcome: Outcome, name: str) -> list[str]:
    """The audits that failed a model, or the class of its error."""
    audits = [audit for audit, _ in outcome.record.failed_audits(name)]
    return list(map(github.code, dict.fromkeys(audits) or [type(outcome.record.failures[name].error).__name__]))


def _failures(outcome: Outcome) -> Iterator[str]:
    for name, model in outcome.record.failures.items():
        owner = f" (owner {github.code(outcome.owners[name])})" if outcome.owners.get(name) else ""
        since = outcome.failing_since.get(table_name(name))
        subject = f"{_code(name)}{owner} has failed{f' since {since:%d %b %Y %H:%M} UTC' if since else ''}"
        audits = outcome.record.failed_audits(name)
        for audit, one in audits:
            found = f"audit {github.code(audit)} of {github.code(one.checks)} found {github.count(one.rows, 'row')}"
            yield f"- {subject}: {found}. {advice(audit)}"
        if model.error and not audits:
            yield f"- {subject}: {describe(model.error)}. Full text: {full_text(model.error)}."
    if skipped := [name for name, one in outcome.record.models.items() if one.status == "skipped"]:
        yield f"- Skipped, because they read what failed: {', '.join(map(_code, sorted(skipped)))}."


def summary(outcome: Outcome) -> str:
    """The job summary, Markdown: what failed, warnings, and what was done."""
    status = "failed" if outcome.failure else "succeeded" if outcome.due else "nothing was due"
    lines = [f"### Run of prod: {status}{', but data is late' if outcome.late else ''}", ""]
    if outcome.late:
        lines += [outcome.late, ""]
    if outcome.drift_repaired:
        lines += [
            f"{outcome.drift_repaired}: {', '.join(map(github.code, outcome.drifted)) or 'no model differs'}.",
            "",
        ]
    if outcome.undropped:
        lines += [f"{outcome.undropped}.", ""]
    if outcome.record.failures:
        lines += [*_failures(outcome), ""]
    elif outcome.failure:
        lines += [outcome.failure, ""]
    warnings = [(name, audit, one) for (name, audit, _), one in outcome.record.audits.items() if one.status == "warned"]
    if warnings:
        lines += [
            "| warning | checks | model | rows |",
            "|---|---|---|--:|",
            *(
                f"| {github.code(audit)} | {github.code(one.checks)} | {_code(name)} | {one.rows:,} |"
                for name, audit, one in warnings
            ),
            "",
            *(
                f"- {github.code(name)}: {remedy}"
                for name, remedy in remedies(audit for _, audit, _ in warnings).items()
            ),
            "",
            f"More on each in {github.code(RUNBOOK)}.",
            "",
        ]
    models = {name: one for name, one in outcome.record.models.items() if one.status == "succeeded"}
    if models:
        audits = outcome.record.audits
        passed = Counter(name for (name, _, _), one in audits.items() if not one.rows)
        found = Counter(name for (name, _, _), one in audits.items() if one.rows)
        intervals = sum(one.intervals for one in models.values())
        # Snowflake doesn't report the rows of a table that is replaced.
        rows = _rows(_total(models.values())) or "an unknown number of"
        done = f"{github.count(len(models), 'model')}, {github.count(intervals, 'interval')}, {rows} rows written"
        audited = f"{github.count(passed.total(), 'audit')} passed"
        lines += [
            f"{done}, {outcome.seconds:,.0f} s; {audited}, {found.total():,} found rows.",
            "",
            "| model | intervals | rows written | seconds | audits passed | audits with rows |",
            "|---|--:|--:|--:|--:|--:|",
            *(
                f"| {_code(name)} | {one.intervals:,} | {_rows(one.rows)} | {one.seconds:,.1f} "
                f"| {passed[name]} | {found[name]} |"
                for name, one in sorted(models.items(), key=lambda item: -item[1].seconds)
            ),
            "",
        ]
    return "\n".join(lines).rstrip()


def _code(name: str) -> str:
    return github.code(table_name(name))


def _total(models: Iterable[ModelRun]) -> int | None:
    known = [one.rows for one in models if one.rows is not None]
    return sum(known) if known else None


def _rows(rows: int | None) -> str:
    return "" if rows is None else f"{rows:,}"
