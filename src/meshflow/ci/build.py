"""Builds a pull request's environment and compares it with prod, in one process that has no token of GitHub.

It loads the change, so what it writes is data for `meshflow.ci.report`. It prints no text of an error: a warehouse
quotes values in some, and everybody may read the log of a public repository.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import click
from pydantic import PrivateAttr
from sqlmesh.core.console import NoopConsole, get_console, set_console
from sqlmesh.core.context import Context
from sqlmesh.core.notification_target import GenericNotificationTarget, NotificationEvent
from sqlmesh.core.plan import Plan
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.core.snapshot.definition import Interval, SnapshotId
from sqlmesh.core.snapshot.execution_tracker import QueryExecutionStats
from sqlmesh.utils.concurrency import NodeExecutionFailedError
from sqlmesh.utils.errors import AuditError, NoChangesPlanError, NodeAuditsErrors

from meshflow.audit import checks
from meshflow.ci import review
from meshflow.ci.diff import compare
from meshflow.ci.plan import is_within, plan_backfills, read_limits
from meshflow.ci.result import BuildResult, Failure, Finding, Step, environment_name, write
from meshflow.failures import describe
from meshflow.names import table_name
from meshflow.project import load_config
from meshflow.state import require_same_data

STATE_TABLE = re.compile(r'"sqlmesh"\."_\w+"')


class OverBudgetError(Exception):
    """The plan builds more than the budget, and the label doesn't allow it."""


class Recorder(NoopConsole):
    """Counts audits, and keeps the errors of `failed` models and the names of `skipped` ones. It prints nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.audits = 0
        self.failed: list[NodeExecutionFailedError[Any]] = []
        self.skipped: set[str] = set()
        self._mutex = Lock()  # models are computed in parallel

    def update_snapshot_evaluation_progress(  # noqa: PLR0913, PLR0917 - SQLMesh's signature
        self,
        snapshot: Snapshot,  # noqa: ARG002
        interval: Interval,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        duration_ms: int | None,  # noqa: ARG002
        num_audits_passed: int,
        num_audits_failed: int,
        audit_only: bool = False,  # noqa: ARG002, FBT001, FBT002
        execution_stats: QueryExecutionStats | None = None,  # noqa: ARG002
        auto_restatement_triggers: list[SnapshotId] | None = None,  # noqa: ARG002
    ) -> None:
        with self._mutex:
            self.audits += num_audits_passed + num_audits_failed

    def log_failed_models(self, errors: list[NodeExecutionFailedError[Any]]) -> None:
        self.failed += errors

    def log_skipped_models(self, snapshot_names: set[str]) -> None:
        self.skipped |= snapshot_names


class Findings(GenericNotificationTarget):  # type: ignore[misc]  # a base class is frozen
    """Every audit that found rows, blocking or not. SQLMesh's console only counts them."""

    notify_on: frozenset[NotificationEvent] = frozenset({NotificationEvent.AUDIT_FAILURE})
    _errors: list[AuditError] = PrivateAttr(default_factory=list)

    def notify_audit_failure(self, audit_error: AuditError, *_: Any, **__: Any) -> None:
        self._errors.append(audit_error)

    def listed(self, failures: Iterable[BaseException | None]) -> list[Finding]:
        """All of them. Those that have failed a model, with one of the errors `failures`, are blocking."""
        blocking = {id(one) for error in failures if isinstance(error, NodeAuditsErrors) for one in error.errors}
        return [
            Finding(
                (one.model_name or "").lower(), one.audit_name, checks(one.audit_args), one.count, id(one) in blocking
            )
            for one in self._errors
        ]


class Statements(logging.Handler):
    """Counts the statements that SQLMesh sends to the warehouse, without those to its state."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("Executing SQL: ") and not STATE_TABLE.search(message):
            self.count += 1


def build(path: Path, gateway: str, number: int, output: Path, *, over_budget: bool) -> None:
    """Build the environment of pull request `number`, merged with main at `path`, and write the result to `output`.

    `over_budget` allows more than the budget. Raises click.ClickException if there is no environment, or it could not
    be compared.
    """
    result = evaluate(path, gateway, environment_name(number), over_budget=over_budget)
    write(result, output)
    if failure := result.failure:
        raise click.ClickException(f"The step {failure.step} failed: {'; '.join(failure.errors)}")
    click.echo(f"Built {result.environment} in {result.seconds:,.0f} s, {result.statements:,} statements")


def evaluate(path: Path, gateway: str, environment: str, *, over_budget: bool) -> BuildResult:
    """Build `environment` unless that exceeds the budget, and describe what deploying it would change."""
    before, recorder = get_console(), Recorder()
    set_console(recorder)
    try:
        with _count_statements() as statements:
            evaluation = Evaluation(path, gateway, over_budget, recorder, statements, BuildResult(environment))
            evaluation.run()
    finally:
        set_console(before)
    return evaluation.result


@contextmanager
def _count_statements() -> Iterator[Statements]:
    statements, logger, root = Statements(), logging.getLogger("sqlmesh.core.engine_adapter.base"), logging.getLogger()
    level, propagate, nothing = logger.level, logger.propagate, logging.NullHandler()
    logger.addHandler(statements)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    root.addHandler(nothing)  # without a handler, Python prints warnings and errors
    try:
        yield statements
    finally:
        root.removeHandler(nothing)
        logger.removeHandler(statements)
        logger.setLevel(level)
        logger.propagate = propagate


@dataclass
class Evaluation:
    """The steps of evaluate(). Each completes `result`, and the first that fails is its failure."""

    path: Path
    gateway: str
    over_budget: bool
    recorder: Recorder
    statements: Statements
    result: BuildResult
    findings: Findings = field(default_factory=Findings)
    plan: Plan | None = None
    """The plan for the environment; None if no model differs from prod."""

    def run(self) -> None:
        """Review the plan even if it can't be applied, and compare rows if it was."""
        if not (self._try("load", lambda: self.context) and self._try("plan", self._plan)):
            return
        built = self._try("budget", self._check_budget) and self._try("build", self._build)
        if self._try("plan", self._review) and built and self.result.exists:
            self._try("compare", self._compare)

    def _try(self, step: Step, action: Callable[[], Any]) -> bool:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is: its text must not be printed
            if not self.result.failure:
                failed = [describe(one) for one in self.recorder.failed] or [_describe(error)]
                skipped = sorted(table_name(name) for name in self.recorder.skipped)
                self._complete(failure=Failure(step, failed, skipped))
            return False
        return True

    def _complete(self, **values: Any) -> None:
        self.result = replace(self.result, **values)

    @cached_property
    def context(self) -> Context:
        return Context(
            paths=str(self.path),
            config=load_config(self.path),
            gateway=self.gateway,
            notification_targets=[self.findings],
        )

    def _plan(self) -> None:
        require_same_data(self.context)
        # Only what is changed: each view of the rest would cost a statement in every pull request.
        builder = self.context.plan_builder(
            self.result.environment, include_unmodified=False, skip_tests=True, skip_linter=True
        )
        try:
            plan = builder.build()
        except NoChangesPlanError:  # SQLMesh makes no environment that equals prod
            return
        # SQLMesh would also build models before the changed ones that prod has not processed yet, such as those of a
        # new source. Prod's next run fills its own tables, and CI may not write them.
        prod = self.context.state_reader.get_environment("prod")
        deployed = {one.snapshot_id for one in prod.snapshots} if prod else set()
        models = {one.name for one in plan.snapshots.values() if one.snapshot_id not in deployed}
        self.plan = plan.model_copy(update={"models_to_backfill": models})
        self._complete(backfills=plan_backfills(self.plan))

    def _check_budget(self) -> None:
        limits = read_limits(self.context)
        within = is_within(self.result.backfills, limits)
        self._complete(limits=limits, is_allowed=self.over_budget and not within)
        if not (within or self.over_budget):
            raise OverBudgetError

    def _build(self) -> None:
        self.statements.count, start = 0, time.monotonic()
        try:
            if self.plan:
                self.context.apply(self.plan)
        finally:
            self._complete(
                statements=self.statements.count,
                seconds=time.monotonic() - start,
                audits=self.recorder.audits,
                findings=self.findings.listed(error.__cause__ for error in self.recorder.failed),
            )

    @cached_property
    def _prod_plan(self) -> Plan:
        """What deploying the pull request would apply to prod. Its gaps are filled there, as `/deploy` does it."""
        return self.context.plan_builder("prod", skip_tests=True, skip_linter=True).build()

    def _review(self) -> None:
        plan = self._prod_plan
        changes, downstream = review.changes(plan), review.downstream(self.context, plan)
        changed = {one.model for one in changes if one.how in {"directly modified", "removed"}}
        exists = self.context.state_reader.get_environment(self.result.environment) is not None
        query = ""
        if self.plan and exists:
            query = review.example_query(plan, self.plan.environment_naming_info, self.context.engine_adapter.dialect)
        self._complete(
            exists=exists,
            changes=changes,
            definitions=review.definitions(plan),
            masks=review.masks(plan),
            downstream=downstream,
            pages=review.pages(self.path / "dashboards", changed | set(downstream)),
            query=query,
        )

    def _compare(self) -> None:
        directly = {one.name for one in self._prod_plan.directly_modified}
        indirectly = {one.name for found in self._prod_plan.indirectly_modified.values() for one in found}
        self._complete(comparison=compare(self.context, self.result.environment, directly, indirectly))


def _describe(error: Exception) -> str:
    return error.message if isinstance(error, click.ClickException) else describe(error)
