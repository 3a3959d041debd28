"""Runs and plans that leave a record in the warehouse: run_log.events, which ops.runs and the views beside it show.

SQLMesh keeps none. Its `Context` is extended here: what a run does is taken from the scheduler and the evaluator that
do it. Plain `sqlmesh run` and `sqlmesh plan` use SQLMesh's own Context and are not recorded.
"""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, reduce
from getpass import getuser
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

import click
from sqlglot import exp
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlmesh import configure_logging
from sqlmesh.cli.main import cli
from sqlmesh.core.console import configure_console, get_console
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import schema_
from sqlmesh.core.environment import Environment
from sqlmesh.core.model import AuditResult
from sqlmesh.core.plan import Plan
from sqlmesh.core.scheduler import Scheduler, SchedulingUnit
from sqlmesh.core.snapshot import Snapshot, SnapshotEvaluator, SnapshotIdBatch
from sqlmesh.core.snapshot.definition import SnapshotId, expand_range
from sqlmesh.utils import CompletionStatus, yaml
from sqlmesh.utils.concurrency import NodeExecutionFailedError
from sqlmesh.utils.date import to_datetime, to_timestamp

from meshflow.audit import checks
from meshflow.catalog.contents import to_sql
from meshflow.failures import describe
from meshflow.freshness import Freshness, freshness, read_load_log
from meshflow.names import table_name
from meshflow.project import count_intervals, find_environment, open_project
from meshflow.remedies import advice
from meshflow.state import Project

Event = dict[str, object]
"""A row of EVENTS: values by column, those that the kind of event has."""

E = TypeVar("E", bound=exp.Expr)

logger = logging.getLogger(__name__)

EVENTS = "run_log.events"
"""The table, in the warehouse's database. external_models/run_log.yaml has its columns."""

LONGEST_RUN = timedelta(hours=6)
"""The longest a job of GitHub Actions may take. An open record that is older belongs to a process that is gone."""

SOURCE_TABLE = "LOWER(loads.source || '.' || loads.table_name)"
"""The name of a loaded table in the load log, as `retail.sales`."""

BATCH = 5_000
"""Rows per INSERT: Snowflake takes 16,384 rows and a megabyte of text."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class ModelRun:
    """What a run has done to one model. Times are UTC."""

    status: str = "succeeded"
    error: BaseException | None = None
    because_of: str | None = None
    started_at: datetime | None = None
    seconds: float = 0
    intervals: int = 0
    interval_start_at: datetime | None = None
    interval_end_at: datetime | None = None
    rows: int | None = None
    """None if the engine doesn't report it: DuckDB."""


@dataclass
class AuditRun:
    """What one audit has found in the batches of a model."""

    is_blocking: bool
    checks: str = ""
    """What it checks, as people read it."""
    rows: int = 0
    query: str | None = None
    """Returns the rows found by the batch with the most."""
    query_rows: int = 0

    @property
    def status(self) -> str:
        return "passed" if not self.rows else "failed" if self.is_blocking else "warned"


@dataclass
class Record:
    """What a run or plan has done. Names of models are SQLMesh's."""

    models: dict[str, ModelRun] = field(default_factory=dict)
    audits: dict[tuple[str, str, str], AuditRun] = field(default_factory=dict)
    """By model, name and arguments."""
    snapshots: list[Snapshot] = field(default_factory=list)
    """Those of the environment, if the run came so far as to read them."""
    freshness: list[Freshness] = field(default_factory=list)
    """Of each model that shows loaded rows, at the end; empty if it isn't known."""
    is_complete: bool = False
    """Whether all that is due was tried or skipped: not if the run was interrupted."""
    _mutex: Lock = field(default_factory=Lock)  # models are computed in parallel

    def computed(self, snapshot: Snapshot, interval: tuple[datetime, datetime], rows: int | None) -> None:
        """A batch of a model was computed and audited."""
        start, end = interval
        count = len(expand_range(to_timestamp(start), to_timestamp(end), snapshot.node.interval_unit)) - 1
        with self._mutex:
            model = self.models.setdefault(snapshot.name, ModelRun())
            model.intervals += count_intervals(snapshot, count)
            model.interval_start_at = min(model.interval_start_at or start, start)
            model.interval_end_at = max(model.interval_end_at or end, end)
            model.rows = model.rows if rows is None else (model.rows or 0) + rows

    def failed(self, name: str, error: BaseException) -> None:
        with self._mutex:
            model = self.models.setdefault(name, ModelRun())
            model.status, model.error = "failed", error

    def timed(self, name: str, started_at: datetime) -> None:
        """A batch of a model ended, whether it failed or not."""
        with self._mutex:
            model = self.models.setdefault(name, ModelRun())
            model.started_at = min(model.started_at or started_at, started_at)
            model.seconds += (_now() - started_at).total_seconds()

    def audited(self, snapshot: Snapshot, results: Iterable[AuditResult], dialect: str) -> None:
        """Audits of a batch have run. `dialect` is that of the engine, which their queries are recorded in."""
        for result in results:
            if result.skipped:
                continue
            arguments = "; ".join(
                f"{name} := {to_sql(value)}" for name, value in result.audit_args.items() if name != "blocking"
            )
            with self._mutex:
                key = snapshot.name, result.audit.name, arguments
                audit = self.audits.setdefault(key, AuditRun(result.blocking, checks(result.audit_args)))
                rows = result.count or 0
                audit.rows += rows
                if rows > audit.query_rows and result.query:
                    audit.query, audit.query_rows = result.query.sql(dialect=dialect, pretty=True), rows

    def ended(
        self,
        snapshots: Mapping[SnapshotId, Snapshot],
        errors: Iterable[NodeExecutionFailedError[SchedulingUnit]],
        skipped: Iterable[SchedulingUnit],
    ) -> None:
        """The scheduler has computed what it could: models failed with `errors`, and others were skipped for that."""
        self.is_complete = True
        by_name = {snapshot.name: snapshot for snapshot in snapshots.values()}
        for error in errors:
            self.failed(error.node.snapshot_name, error.__cause__ or error)
        failed = self.failures.keys()
        for name in {unit.snapshot_name for unit in skipped} - failed:
            causes = _upstream(name, by_name) & failed
            model = self.models.setdefault(name, ModelRun())
            model.status, model.because_of = "skipped", ", ".join(sorted(map(table_name, causes)))

    @property
    def failures(self) -> dict[str, ModelRun]:
        """The models that failed, by name."""
        return {name: model for name, model in sorted(self.models.items()) if model.status == "failed"}

    def failed_audits(self, model: str) -> list[tuple[str, AuditRun]]:
        """The blocking audits of a model that found rows, by name."""
        return [(name, one) for (of, name, _), one in self.audits.items() if of == model and one.status == "failed"]

    def rows(self) -> Iterator[Event]:
        """The events of models and audits."""
        for name, model in self.models.items():
            yield {
                "event": "model",
                "model": table_name(name),
                "status": model.status,
                "error_class": type(model.error).__name__ if model.error else None,
                "because_of": model.because_of,
                "started_at": model.started_at,
                "seconds": model.seconds,
                "interval_count": model.intervals,
                "interval_start_at": model.interval_start_at,
                "interval_end_at": model.interval_end_at,
                "row_count": model.rows,
            }
        for (name, audit, arguments), found in self.audits.items():
            yield {
                "event": "audit",
                "model": table_name(name),
                "audit": audit,
                "arguments": arguments,
                "is_blocking": found.is_blocking,
                "status": found.status,
                "row_count": found.rows,
                "query": found.query,
            }


class RecordedEvaluator(SnapshotEvaluator):
    """SQLMesh's evaluator that records all results of audits, also of those that passed beside one that failed."""

    record: Record

    def audit(self, snapshot: Snapshot, **options: Any) -> list[AuditResult]:
        results: list[AuditResult] = super().audit(snapshot, **options)
        self.record.audited(snapshot, results, self.adapter.dialect)
        return results


class RecordedScheduler(Scheduler):
    """SQLMesh's scheduler that records the models it computes, and those that fail or are skipped."""

    record: Record

    def evaluate(self, snapshot: Snapshot, start: Any, end: Any, *arguments: Any, **options: Any) -> list[AuditResult]:
        started_at = _now()
        try:
            results: list[AuditResult] = super().evaluate(snapshot, start, end, *arguments, **options)
        except BaseException as error:
            self.record.failed(snapshot.name, error)
            raise
        finally:
            self.record.timed(snapshot.name, started_at)
        batch = SnapshotIdBatch(snapshot_id=snapshot.snapshot_id, batch_id=options["batch_index"])
        execution = self.snapshot_evaluator.execution_tracker.get_execution_context(batch)
        rows = execution.stats.total_rows_processed if execution else None
        self.record.computed(snapshot, (to_datetime(start), to_datetime(end)), rows)
        return results

    def run_merged_intervals(
        self, **options: Any
    ) -> tuple[list[NodeExecutionFailedError[SchedulingUnit]], list[SchedulingUnit]]:
        errors, skipped = super().run_merged_intervals(**options)
        self.record.ended(self.snapshots, errors, skipped)
        return errors, skipped


class RecordedContext(Context):
    """SQLMesh's Context whose `run` and `apply` leave a record. A record that can't be written is a warning."""

    def __init__(self, *arguments: Any, holds_lock: bool = False, **options: Any) -> None:
        """`holds_lock`: no other process may run or plan the environment, so an open record in it was killed."""
        super().__init__(*arguments, **options)
        self.record = Record()
        """Of the run or plan that was begun last."""
        self._holds_lock = holds_lock

    def run(self, environment: str | None = None, **options: Any) -> CompletionStatus:
        name = Environment.sanitize_name(environment or self.config.default_target_environment)
        with self._recorded("run", name, is_partial=_is_limited(options)) as log:
            status = super().run(environment, **options)
            # SQLMesh has work to do for intervals that their signals hold back, too.
            log.status = "failed" if status.is_failure else "succeeded" if self.record.models else "nothing_due"
        return status

    def apply(self, plan: Plan, circuit_breaker: Callable[[], bool] | None = None) -> None:
        if plan.explain or not (plan.has_changes or plan.requires_backfill or plan.has_unmodified_unpromoted):
            super().apply(plan, circuit_breaker)  # which changes nothing
            return
        with self._recorded("plan", plan.environment_naming_info.name):
            super().apply(plan, circuit_breaker)

    def create_scheduler(self, snapshots: Iterable[Snapshot], snapshot_evaluator: SnapshotEvaluator) -> Scheduler:
        evaluator = RecordedEvaluator(
            snapshot_evaluator.adapters, snapshot_evaluator.ddl_concurrent_tasks, snapshot_evaluator.selected_gateway
        )
        scheduler = RecordedScheduler(
            snapshots,
            evaluator,
            self.state_sync,
            default_catalog=self.default_catalog,
            max_workers=self.concurrent_tasks,
            console=self.console,
            notification_target_manager=self.notification_target_manager,
        )
        evaluator.record = scheduler.record = self.record
        self.record.snapshots = list(scheduler.snapshots.values())
        return scheduler

    @contextmanager
    def _recorded(self, command: str, environment: str, *, is_partial: bool = False) -> Iterator["RunLog"]:
        """Record the block: its start before it, its end after it. It sets the status of the yielded log."""
        self.record = Record()
        log = RunLog(self, command, environment, is_partial)
        log.begin(is_alone=self._holds_lock)
        try:
            yield log
        except BaseException as error:
            log.status, log.error_class = "failed", type(error).__name__
            raise
        finally:
            log.end(self.record)


class RecordedProject(RecordedContext, Project):
    """The checkout, as jobs run it: recorded, and nothing that the state's database has is executed."""


@dataclass
class RunLog:
    """The events of one run, written with the warehouse's own connection in transactions of their own."""

    context: Context
    command: str
    environment: str
    is_partial: bool = False
    """Whether models were selected, times limited, or it was interrupted. Another run tries all that failed before."""
    status: str = "succeeded"
    error_class: str | None = None
    started_at: datetime = field(default_factory=_now)
    is_open: bool = False

    @cached_property
    def run_id(self) -> str:
        return f"{self.started_at:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"

    def begin(self, *, is_alone: bool) -> None:
        """Record the start, and close the records of killed runs, in one statement.

        DuckDB lets one process write a file, so every other open record in it is of a process that is gone. On
        Snowflake it is one of the same environment if this process is alone in it, by the lock of prod, or if the
        record is older than LONGEST_RUN.
        """
        start: Event = {
            "event": "started",
            "triggered_by": _trigger(),
            "git_commit": _commit(self.context.path),
            "is_partial": self.is_partial,
            "process": f"{socket.gethostname()}:{os.getpid()}",
        }

        def write() -> None:
            [row] = self._queries([start])
            insert = self._insert(exp.union(row, self._killed(is_alone=is_alone), distinct=False))
            try:
                self._execute([insert])
            except Exception:  # noqa: BLE001 - each engine has its own error for a table that doesn't exist yet
                self._create()
                self._execute([insert])

        self.is_open = self._succeeds(write)

    def end(self, record: Record) -> None:
        """Record the end with models, audits, freshness and the loads before it, and delete what is outdated.

        On Snowflake only a plan deletes: each statement of a run costs.
        """
        if not self.is_open:
            return
        if self.status == "failed":
            errors = [type(model.error).__name__ for model in record.failures.values()]
            self.error_class = errors[0] if errors else self.error_class
        seconds = (_now() - self.started_at).total_seconds()
        # A run that was interrupted may not have tried what failed before.
        self.is_partial |= self.command == "run" and self.status == "failed" and not record.is_complete
        end: Event = {
            "event": "ended",
            "status": self.status,
            "error_class": self.error_class,
            "seconds": seconds,
            "is_partial": self.is_partial,
        }

        def write() -> None:
            with self.context.engine_adapter.transaction():
                known, has_loads = self._freshness(record)
                queries: list[exp.Query] = list(self._queries([*record.rows(), *known, end]))
                if has_loads:
                    queries[0] = exp.union(queries[0], self._loads(), distinct=False, copy=False)
                statements: list[exp.Expr] = [*map(self._insert, queries)]
                if self.command == "plan" or self.context.engine_adapter.dialect == "duckdb":
                    statements.append(exp.delete(self._table).where(self._outdated(is_known=bool(known))))
                self._execute(statements)

        self._succeeds(write)

    def _outdated(self, *, is_known: bool) -> exp.Condition:
        """Which events to delete: those older than run_history_days, and earlier freshness if the newest `is_known`."""
        old = exp.column("recorded_at") < self._oldest
        if not is_known:
            return old
        is_earlier = exp.column("run_id").neq(self.run_id)
        return exp.or_(old, exp.and_("event = 'freshness'", exp.column("environment").eq(self.environment), is_earlier))

    @property
    def _oldest(self) -> object:
        """The time, as text, since which events are kept."""
        return _text(_now() - timedelta(days=int(self.context.config.variables.get("run_history_days", 400))))

    def _succeeds(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception as error:
            logger.warning("Recording of %s failed", self.run_id, exc_info=error)
            self.context.console.log_warning(
                f"This {self.command} is not recorded in {EVENTS}: {type(error).__name__}, see the log."
            )
            return False
        return True

    def _freshness(self, record: Record) -> tuple[list[Event], bool]:
        """An event for each model of the environment that shows loaded rows, and whether there is a load log.

        No event if freshness can't be determined, or nothing of the environment was tried: what was known stays true.
        """
        try:
            log = read_load_log(self.context, is_open=True)
            built = self.context.state_reader.get_environment(self.environment)
            if not built or (self.status == "failed" and not record.models):
                return [], log is not None
            # Loading them takes 0.5 s. Only their intervals have changed.
            known = {one.snapshot_id for one in record.snapshots}
            if all(one.snapshot_id in known for one in built.snapshots):
                read = self.context.state_sync.refresh_snapshot_intervals(record.snapshots)
            else:
                read = list(self.context.state_reader.get_snapshots(built.snapshots).values())
            found = freshness(self.context, built, log, read)
            failed = self._failing(record)
        except Exception as error:
            logger.warning("Freshness of %s is not recorded", self.environment, exc_info=error)
            self.context.console.log_warning(f"Freshness is not recorded: {type(error).__name__}, see the log.")
            return [], False
        record.freshness = list(found.values())
        snapshots = {one.name: one for one in read}
        events: list[Event] = []
        for name in snapshots:
            if one := found.get(table_name(name)):
                causes = set(map(table_name, {name} | _upstream(name, snapshots))) & failed
                events.append(
                    {
                        "event": "freshness",
                        "model": one.model,
                        "processed_until": one.until,
                        "late_at": one.late_at,
                        "laggard": one.first_due.table,
                        "because_of": ", ".join(sorted(causes)) or None,
                    }
                )
        return events, log is not None

    def _failing(self, record: Record) -> set[str]:
        """The models of the environment that fail, as in ops.failing_models.

        A run tries all that failed before, unless models are selected. A plan doesn't, and what fails in one isn't
        promoted.
        """
        failed = set(map(table_name, record.failures))
        if self.command == "run" and not self.is_partial:
            return failed
        is_previous = [exp.column("environment").eq(self.environment), exp.condition("event = 'freshness'")]
        newest = exp.select("MAX(recorded_at)").from_(self._table).where(*is_previous).subquery()
        previous = exp.select("because_of").distinct().from_(self._table)
        previous = previous.where(*is_previous, exp.column("recorded_at").eq(newest), "NOT because_of IS NULL")
        rows = self.context.engine_adapter.fetchall(self._normalized(previous))
        before = {name for (names,) in rows for name in names.split(", ")}
        succeeded = {table_name(name) for name, model in record.models.items() if model.status == "succeeded"}
        if self.command == "plan":
            return before - succeeded if self.status == "succeeded" else before
        return failed | (before - succeeded)

    def _create(self) -> None:
        """Create the table, or add the columns that an older one lacks."""
        adapter = self.context.engine_adapter
        adapter.create_schema(schema_(self._table.args["db"], self._table.args["catalog"]))
        adapter.create_table(self._table, self._columns, exists=True)
        known = {name.upper() for name in adapter.columns(self._table)}
        for name, type_ in self._columns.items():
            if name.upper() not in known:
                column = exp.ColumnDef(this=exp.to_identifier(name), kind=type_)
                adapter.execute(exp.Alter(this=self._table, kind="TABLE", actions=[column]))

    def _execute(self, statements: list[exp.Expr]) -> None:
        adapter = self.context.engine_adapter
        for statement in statements:
            # As text: SQLMesh would copy each of them, which takes a third of the time of recording.
            adapter.execute(self._normalized(statement).sql(dialect=adapter.dialect, identify=True, copy=False))

    def _queries(self, events: Sequence[Event]) -> Iterator[exp.Query]:
        """Queries of events from literals. Most columns are NULL for a kind of event: its literals leave them out."""
        common = self._common()
        for first in range(0, len(events), BATCH):
            kinds = groupby(events[first : first + BATCH], key=lambda event: event["event"])
            selects: list[exp.Query] = [self._literals(list(same), common) for _, same in kinds]
            yield reduce(lambda one, other: exp.union(one, other, distinct=False, copy=False), selects)

    def _literals(self, events: Sequence[Event], common: Event) -> exp.Select:
        """A SELECT of events of one kind, from VALUES, which have the columns in `common`, too."""
        names = list(dict.fromkeys(name for event in events for name, value in event.items() if value is not None))
        rows = [tuple(exp.convert(_text(event[name])) for name in names) for event in events]
        columns = common | {name: exp.column(name) for name in names}
        values = exp.values(rows, "events", names)
        return exp.Select(expressions=self._row(columns)).from_(values, copy=False)

    def _common(self) -> Event:
        """What all events have that this run records now."""
        now = _now()
        return {"run_id": self.run_id, "recorded_at": now, "environment": self.environment, "command": self.command}

    def _row(self, event: Event) -> list[exp.Expr]:
        """The table's columns, from values or expressions by name: NULL those that an event doesn't have."""
        return [
            # Not copied: copies of types took a fifth of the time of recording.
            exp.alias_(exp.cast(exp.convert(_text(event.get(name.lower()))), type_, copy=False), name, copy=False)
            for name, type_ in self._columns.items()
        ]

    def _killed(self, *, is_alone: bool) -> exp.Select:
        """A SELECT of the events that end killed runs."""
        event: Event = {"event": "ended", "status": "killed", "recorded_at": _now()}
        event |= {name: exp.column(name, "started") for name in ("run_id", "environment", "command")}
        # Not this run: DuckDB may read the row that the same statement has just written.
        is_other = exp.column("run_id", "started").neq(self.run_id)
        is_gone: list[str | exp.Expr] = ["started.event = 'started'", "ended.run_id IS NULL", is_other]
        if self.context.engine_adapter.dialect != "duckdb":
            is_gone.append(exp.column("environment", "started").eq(self.environment))
            if not is_alone:
                is_gone.append(exp.column("recorded_at", "started") < _text(_now() - LONGEST_RUN))
        return (
            exp.Select(expressions=self._row(event))
            .from_(exp.alias_(self._table, "started", table=True))
            .join(
                exp.alias_(self._table, "ended", table=True),
                on=["ended.run_id = started.run_id", "ended.event = 'ended'"],
                join_type="left",
            )
            .where(*is_gone)
        )

    def _loads(self) -> exp.Select:
        """A SELECT of the load log's rows that have ended and aren't recorded yet."""
        values = {
            "status": "loads.status",
            "error_class": "loads.error_class",
            "row_count": "loads.row_count",
            "started_at": "loads.started_at",
            "seconds": "DATEDIFF(MILLISECOND, loads.started_at, loads.finished_at) / 1000.0",
            "source_table": SOURCE_TABLE,
        }
        event = self._common() | {"event": "load"}
        event |= {name: exp.maybe_parse(value, dialect="snowflake") for name, value in values.items()}
        return (
            exp.Select(expressions=self._row(event))
            .from_("RAW.loader.loads AS loads")
            .join(
                exp.alias_(self._table, "recorded", table=True),
                on=[
                    "recorded.event = 'load'",
                    f"recorded.source_table = {SOURCE_TABLE}",
                    "recorded.started_at = loads.started_at",
                ],
                join_type="left",
            )
            # RAW keeps them for longer.
            .where(
                "loads.status <> 'running'",
                "recorded.run_id IS NULL",
                exp.column("started_at", "loads") >= self._oldest,
            )
        )

    def _insert(self, query: exp.Query) -> exp.Insert:
        return exp.insert(query, self._table, columns=list(self._columns), copy=False)

    @cached_property
    def _table(self) -> exp.Table:
        table = exp.to_table(EVENTS)
        table.set("catalog", exp.to_identifier(self.context.default_catalog))
        return self._normalized(table)

    @cached_property
    def _columns(self) -> dict[str, exp.DataType]:
        # From the file: a run doesn't load the project.
        [events] = yaml.load(self.context.path / "external_models" / "run_log.yaml", render_jinja=False)
        dialect = self.context.default_dialect
        return {
            self._normalized(exp.column(name)).name: exp.DataType.build(type_, dialect=dialect)
            for name, type_ in events["columns"].items()
        }

    def _normalized(self, expression: E) -> E:
        return normalize_identifiers(expression, dialect=self.context.default_dialect)


def sqlmesh(name: str, gateway: str | None, arguments: Sequence[str]) -> None:
    """Run SQLMesh's own command `name`, run or plan, on a RecordedContext. Prints and raises what that does.

    What failed comes last: mail and logs of cron begin with hundreds of lines.
    """
    configure_logging()
    configure_console()
    console: Any = get_console()
    if not sys.stdout.isatty():
        console.console.soft_wrap = True  # otherwise lines are wrapped within names, so that nothing finds them
    command = copy(cli.commands[name])
    own = click.get_current_context().command
    command.help, command.epilog = own.help, own.epilog
    with command.make_context(f"meshflow {name}", list(arguments)) as ctx:
        for option in ("start", "end"):
            _require_time(option, ctx.params[option])
        context: Any = open_project(gateway, load=name == "plan", kind=RecordedContext)
        if name == "run":
            find_environment(context, ctx.params["environment"] or context.config.default_target_environment)
        ctx.obj = context
        try:
            command.invoke(ctx)
        finally:
            for line in _failures(context.record):
                click.echo(line, err=True)


def _require_time(option: str, value: str | None) -> None:
    """Raise click.BadParameter if an option isn't a time: otherwise that would be a run that failed."""
    try:
        to_datetime(value or "now")
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no time: use 2026-11-30, or '1 day ago'", param_hint=f"--{option}"
        ) from None


def _failures(record: Record) -> Iterator[str]:
    """A line for each model that failed, with audits, rows and remedies; and one for those that were skipped."""
    for name, model in record.failures.items():
        audits = record.failed_audits(name)
        for audit, one in audits:
            found = f"audit {audit} of {one.checks} found {one.rows:,} rows"
            yield f"{table_name(name)} has failed: {found}. {advice(audit)}"
        if model.error and not audits:
            yield f"{table_name(name)} has failed: {describe(model.error)}, see above"
    if skipped := sorted(table_name(name) for name, one in record.models.items() if one.status == "skipped"):
        yield f"Skipped, because they read what failed: {', '.join(skipped)}"


def _is_limited(options: Mapping[str, Any]) -> bool:
    """Whether a run doesn't try all that is due: models are selected, or it begins later or ends earlier."""
    end, now = options.get("end"), options.get("execution_time")
    ends_early = end is not None and to_datetime(end) < to_datetime(now or "now")
    return bool(options.get("select_models") or options.get("start")) or ends_early


def _upstream(name: str, snapshots: Mapping[str, Snapshot]) -> set[str]:
    """The names of all models that a model reads, directly or not."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        snapshot = snapshots.get(waiting.pop())
        parents = {parent.name for parent in snapshot.parents} - found if snapshot else set()
        found |= parents
        waiting += parents
    return found


def _trigger() -> str:
    """Who or what started this process: a workflow run, MESHFLOW_TRIGGER such as a cron job's name, or a user."""
    if run := os.environ.get("GITHUB_RUN_ID"):
        server, repository = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
        return f"{server}/{repository}/actions/runs/{run}"
    return os.environ.get("MESHFLOW_TRIGGER") or f"{getuser()}@{socket.gethostname()}"


def _commit(project: Path) -> str | None:
    """The commit of a project, ending in -changed if files differ from it; None outside of git."""
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip().replace("-dirty", "-changed")


def _text(value: object) -> object:
    """A value as a literal: a time as text, UTC, which all engines cast the same."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else value
