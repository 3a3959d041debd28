"""The scheduled run of prod: under the prod lock, on the models of the checkout, with a job summary."""

import os
import time
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock as Mutex
from typing import Any

import click
from pydantic import PrivateAttr
from sqlmesh.core.console import TerminalConsole, get_console, set_console
from sqlmesh.core.context import Context
from sqlmesh.core.notification_target import GenericNotificationTarget, NotificationEvent
from sqlmesh.core.plan import Plan
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.core.snapshot.definition import Interval, SnapshotId, expand_range
from sqlmesh.core.snapshot.execution_tracker import QueryExecutionStats
from sqlmesh.utils.concurrency import NodeExecutionFailedError
from sqlmesh.utils.errors import AuditError, NodeAuditsErrors, SQLMeshError

from meshflow.audit import RUNBOOK, checks, remedies
from meshflow.ci import github
from meshflow.ci.lock import Lock, prod_lock
from meshflow.ci.plan import count_intervals, table_name


@dataclass
class Processed:
    """What a run has done to one model. `rows` is None if the engine doesn't report it: DuckDB."""

    intervals: int = 0
    rows: int | None = None
    seconds: float = 0
    audits_passed: int = 0
    audits_failed: int = 0


class Record(TerminalConsole):
    """SQLMesh's console that also records `models` by name, `failed` with the reason, and `skipped`."""

    def __init__(self) -> None:
        super().__init__()
        self.models: defaultdict[str, Processed] = defaultdict(Processed)
        self.failed: dict[str, BaseException] = {}
        self.skipped: set[str] = set()
        self._mutex = Mutex()  # models are computed in parallel

    def update_snapshot_evaluation_progress(  # noqa: PLR0913, PLR0917 - SQLMesh's signature
        self,
        snapshot: Snapshot,
        interval: Interval,
        batch_idx: int,
        duration_ms: int | None,
        num_audits_passed: int,
        num_audits_failed: int,
        audit_only: bool = False,  # noqa: FBT001, FBT002
        execution_stats: QueryExecutionStats | None = None,
        auto_restatement_triggers: list[SnapshotId] | None = None,
    ) -> None:
        super().update_snapshot_evaluation_progress(
            snapshot,
            interval,
            batch_idx,
            duration_ms,
            num_audits_passed,
            num_audits_failed,
            audit_only,
            execution_stats,
            auto_restatement_triggers,
        )
        if duration_ms is None:  # it has failed
            return
        rows = execution_stats.total_rows_processed if execution_stats else None
        with self._mutex:
            model = self.models[snapshot.name]
            intervals = len(expand_range(*interval, snapshot.model.interval_unit)) - 1
            model.intervals += 0 if audit_only else count_intervals(snapshot, intervals)
            model.rows = model.rows if rows is None else (model.rows or 0) + rows
            model.seconds += duration_ms / 1000
            model.audits_passed += num_audits_passed
            model.audits_failed += num_audits_failed

    def log_failed_models(self, errors: list[NodeExecutionFailedError[Any]]) -> None:
        super().log_failed_models(errors)
        self.failed |= {error.node.snapshot_name: error.__cause__ or error for error in errors}

    def log_skipped_models(self, snapshot_names: set[str]) -> None:
        super().log_skipped_models(snapshot_names)
        self.skipped |= snapshot_names


class Findings(GenericNotificationTarget):  # type: ignore[misc]  # a base class is frozen
    """Every audit that found rows, blocking or not. SQLMesh's console only counts them."""

    notify_on: frozenset[NotificationEvent] = frozenset({NotificationEvent.AUDIT_FAILURE})
    _errors: list[AuditError] = PrivateAttr(default_factory=list)

    def notify_audit_failure(self, audit_error: AuditError, *_: Any, **__: Any) -> None:
        self._errors.append(audit_error)

    @property
    def errors(self) -> list[AuditError]:
        return self._errors


@dataclass
class Outcome:
    """A run of prod. `due` is false if there was nothing to run.

    `drift_repaired` is why prod had to be planned first, or empty; `drifted` names the models that differed.
    """

    record: Record
    findings: Findings
    drift_repaired: str = ""
    drifted: list[str] = field(default_factory=list)
    due: bool = True
    failure: str = ""
    seconds: float = field(default=0, init=False)


def run(path: Path, gateway: str) -> None:
    """Run prod under the prod lock, after applying the project at `path` if the two differ.

    They differ if a deploy was killed, or if GitHub rejected its merge. The lock is the one that deploys take; it is in
    the PostgreSQL that has SQLMesh's state. State in a DuckDB file needs none, as only one process can open that.
    Raises click.ClickException if the run fails, or naming the holder of the lock.
    """
    with _hold_prod_lock() as lock:
        if isinstance(lock, str):
            # GitHub's queue doesn't allow it, so it is somebody elsewhere, or a job that was killed: worth an alert.
            raise click.ClickException(f"Nothing was run: prod is locked by {lock}")
        outcome = run_prod(path, gateway)
    github.write_summary(summary(outcome))
    if outcome.failure:
        raise click.ClickException(outcome.failure)
    if not outcome.due:
        click.echo("Nothing was due")


def _hold_prod_lock() -> AbstractContextManager[Lock | str | None]:
    return prod_lock("run") if os.environ.get("MESHFLOW_STATE_HOST") else nullcontext()


def run_prod(path: Path, gateway: str) -> Outcome:
    """Apply the project at `path` to prod if the two differ, then compute what is due.

    Raises click.ClickException if there is no prod yet: a person applies the first plan of a warehouse.
    """
    before = get_console()
    record, findings = Record(), Findings()
    set_console(record)
    outcome = Outcome(record, findings)
    start = time.monotonic()
    try:
        context = Context(paths=str(path), gateway=gateway, notification_targets=[findings])
        _repair_drift(context, outcome)
        status = context.run("prod")
        # SQLMesh has work to do for intervals that their signals hold back, too.
        outcome.due = bool(record.models) or status.is_failure
        outcome.failure = "The run of prod has failed" if status.is_failure else ""
    except SQLMeshError as error:
        outcome.failure = f"The run of prod has failed: {error}"
    finally:
        set_console(before)
        outcome.seconds = time.monotonic() - start
    if outcome.failure and record.failed:
        outcome.failure += f" at {', '.join(sorted(map(table_name, record.failed)))}"
    return outcome


def _repair_drift(context: Context, outcome: Outcome) -> None:
    # As the bot's deploy does it: existing tables are promoted, nothing is computed twice.
    plan = context.plan_builder("prod", no_gaps=True, skip_tests=True, skip_linter=True).build()
    if plan.context_diff.is_new_environment:
        raise click.ClickException("There is no prod yet: `sqlmesh plan prod` builds it")
    if not plan.has_changes:
        return
    outcome.drift_repaired, outcome.drifted = _why(plan)
    prefix = "::notice::" if os.environ.get("GITHUB_ACTIONS") else ""
    click.echo(f"{prefix}{outcome.drift_repaired}: {', '.join(outcome.drifted) or 'no model differs'}")
    context.apply(plan)


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


def summary(outcome: Outcome) -> str:
    """The job summary, Markdown."""
    models, errors = outcome.record.models, outcome.findings.errors
    status = "failed" if outcome.failure else "succeeded" if outcome.due else "nothing was due"
    lines = [f"### Run of prod: {status}", ""]
    if outcome.drift_repaired:
        lines += [
            f"{outcome.drift_repaired}: {', '.join(map(github.code, outcome.drifted)) or 'no model differs'}.",
            "",
        ]
    if models:
        passed = sum(one.audits_passed for one in models.values())
        intervals = sum(one.intervals for one in models.values())
        # Snowflake doesn't report the rows of a table that is replaced.
        rows = _rows(_total(models)) or "an unknown number of"
        done = f"{len(models):,} models, {intervals:,} intervals, {rows} rows written"
        lines += [
            f"{done}, {outcome.seconds:,.0f} s; {passed:,} audits passed, {len(errors):,} found rows.",
            "",
            "| model | intervals | rows written | seconds | audits passed | audits failed |",
            "|---|--:|--:|--:|--:|--:|",
            *(
                f"| {_code(name)} | {one.intervals:,} | {_rows(one.rows)} | {one.seconds:,.1f} "
                f"| {one.audits_passed} | {one.audits_failed} |"
                for name, one in sorted(models.items(), key=lambda item: -item[1].seconds)
            ),
            "",
        ]
    if errors:
        blocking = {
            id(one)
            for cause in outcome.record.failed.values()
            if isinstance(cause, NodeAuditsErrors)
            for one in cause.errors
        }
        lines += [
            "| audit that found rows | checks | model | rows | severity |",
            "|---|---|---|--:|---|",
            *(
                f"| {github.code(one.audit_name)} | {github.code(checks(one.audit_args))} "
                f"| {github.code(one.model_name or '')} | {one.count:,} "
                f"| {'error' if id(one) in blocking else 'warning'} |"
                for one in errors
            ),
            "",
            *(
                f"- {github.code(name)}: {remedy}"
                for name, remedy in remedies(one.audit_name for one in errors).items()
            ),
            "",
            f"More on each in {github.code(RUNBOOK)}.",
            "",
        ]
    # Only the kind of an error: its text may quote a value, and everybody may read this page.
    lines += [
        f"{_code(name)} failed: {type(cause).__name__}, see the log."
        for name, cause in sorted(outcome.record.failed.items())
        if not isinstance(cause, NodeAuditsErrors)
    ]
    if outcome.record.skipped:
        lines += [f"Skipped, because they read what failed: {', '.join(map(_code, sorted(outcome.record.skipped)))}."]
    return "\n".join(lines).rstrip()


def _code(name: str) -> str:
    return github.code(table_name(name))


def _total(models: dict[str, Processed]) -> int | None:
    known = [one.rows for one in models.values() if one.rows is not None]
    return sum(known) if known else None


def _rows(rows: int | None) -> str:
    return "" if rows is None else f"{rows:,}"
