"""Recorded runs and plans: each way of ending leaves the truth in ops.runs, ops.model_runs and ops.audit_results."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from run_log import apply, small_project
from sqlmesh.core.context import Context
from sqlmesh.core.plan import PlanBuilder
from sqlmesh.utils.errors import SQLMeshError
from workspace import Workspace, recorded, writes

from meshflow.cli import main
from meshflow.runs import EVENTS, RecordedContext, RecordedScheduler, Scheduler

ADDRESS = "ann@example.org"
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def template(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project with the models of the run log and four small ones, and prod built by a recorded plan."""
    workspace = small_project(project, tmp_path_factory.mktemp("template"))
    with closing(workspace.context(kind=RecordedContext)) as context:
        context.engine_adapter.execute(["CREATE SCHEMA RAW.demo", "CREATE TABLE RAW.demo.orders (id INT, note TEXT)"])
        context.engine_adapter.execute("INSERT INTO RAW.demo.orders VALUES (1, '10'), (2, '20')")
        apply(context, "prod")
    return workspace


@pytest.fixture
def workspace(template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("MESHFLOW_STATE_HOST", "GITHUB_RUN_ID", "MESHFLOW_TRIGGER"):
        monkeypatch.delenv(name, raising=False)
    return template.clone(tmp_path)


@pytest.fixture
def context(workspace: Workspace) -> Iterator[RecordedContext]:
    with closing(workspace.context(kind=RecordedContext)) as context:
        yield context


def run(context: Context, hours: int = 1) -> bool:
    """Run prod as if it were so many hours later; whether it succeeded."""
    at = datetime.now(UTC) + hours * HOUR
    return bool(context.run("prod", end=at, execution_time=at, skip_janitor=True).is_success)


def rows(context: Context, query: str) -> list[tuple[Any, ...]]:
    return list(context.engine_adapter.fetchall(query))


def newest(context: Context, columns: str) -> tuple[Any, ...]:
    """Columns of the newest run in ops.runs."""
    [row] = rows(context, f"SELECT {columns} FROM ops.runs ORDER BY started_at DESC LIMIT 1")
    return row


def of_newest(context: Context, view: str, columns: str, model: str = "%") -> set[tuple[Any, ...]]:
    """Columns of the rows of the newest run in another view."""
    [run_id] = newest(context, "run_id")
    return set(rows(context, f"SELECT {columns} FROM {view} WHERE run_id = '{run_id}' AND model LIKE '{model}'"))


def insert(context: Context, order: str) -> None:
    context.engine_adapter.execute(f"INSERT INTO RAW.demo.orders VALUES ({order})")


def test_the_first_plan_is_recorded_with_its_models_and_audits(context: RecordedContext) -> None:
    assert newest(context, "command, environment, status, error_class, failed_models") == (
        "plan", "prod", "succeeded", None, None,
    )  # fmt: skip
    models = of_newest(context, "ops.model_runs", "model, status, interval_count, because_of")
    assert {("retail.orders", "succeeded", 1, None), ("ops.runs", "succeeded", 1, None)} <= models
    assert of_newest(context, "ops.audit_results", "model, audit, arguments, status, is_blocking, row_count") >= {
        ("retail.orders", "not_null", "columns := id", "passed", True, 0),
        ("retail.orders", "forall_non_blocking", "criteria := id < 100", "passed", False, 0),
    }


def committed(workspace: Workspace) -> str:
    """Commit the workspace, and return the commit."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(workspace.path)]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_a_run_is_recorded_with_who_started_it_its_commit_times_and_intervals(
    context: RecordedContext, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = committed(workspace)
    monkeypatch.setenv("MESHFLOW_TRIGGER", "cron run")
    before = datetime.now(UTC).replace(tzinfo=None)
    assert run(context)
    status, trigger, commit, process, started_at, ended_at = newest(
        context, "status, triggered_by, git_commit, process, started_at, ended_at"
    )
    assert (status, trigger, commit) == ("succeeded", "cron run", head)
    assert process.endswith(f":{os.getpid()}")
    assert before <= started_at < ended_at <= datetime.now(UTC).replace(tzinfo=None)
    [(start, end, model_started_at, seconds)] = of_newest(
        context, "ops.model_runs", "interval_start_at, interval_end_at, started_at, duration_seconds", "retail.totals"
    )
    assert end - start == HOUR
    assert started_at <= model_started_at < ended_at
    assert 0 < float(seconds) < (ended_at - started_at).total_seconds()


def test_a_file_that_differs_from_the_commit_shows_and_so_does_a_workflow(
    context: RecordedContext, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = committed(workspace)
    workspace.edit("models/retail/notes.sql", "note::INT", "(note)::INT")
    for name, value in {"SERVER_URL": "https://github.com", "REPOSITORY": "o/r", "RUN_ID": "12"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    run(context)
    trigger, commit = newest(context, "triggered_by, git_commit")
    assert trigger == "https://github.com/o/r/actions/runs/12"
    assert commit == f"{head}-changed"


def test_a_run_with_nothing_due_is_recorded(context: RecordedContext) -> None:
    context.run("prod", skip_janitor=True)
    assert newest(context, "command, status, succeeded_model_count") == ("run", "nothing_due", 0)


def test_a_failed_blocking_audit_is_recorded_with_what_was_skipped_because_of_it(context: RecordedContext) -> None:
    insert(context, "NULL, '30'")
    assert not run(context)
    assert newest(
        context, "status, error_class, failed_models, failed_model_count, skipped_model_count, failed_audit_count"
    ) == ("failed", "NodeAuditsErrors", "retail.orders", 1, 2, 1)
    models = of_newest(context, "ops.model_runs", "model, status, error_class, because_of")
    # Before midnight the daily views are due, too.
    assert {found for found in models if found[0].startswith("retail.")} == {
        ("retail.orders", "failed", "NodeAuditsErrors", None),
        ("retail.totals", "skipped", None, "retail.orders"),
        ("retail.report", "skipped", None, "retail.orders"),
        ("retail.notes", "succeeded", None, None),
    }
    # The audit that passed beside it, too.
    audits = of_newest(context, "ops.audit_results", "model, audit, status, row_count")
    assert {found for found in audits if found[0].startswith("retail.")} == {
        ("retail.orders", "not_null", "failed", 1),
        ("retail.orders", "forall_non_blocking", "passed", 0),
    }
    [(query,)] = of_newest(context, "ops.audit_results", "query", "retail.orders") - {(None,)}
    assert rows(context, query) == [(None, "30")], "the query of the audit returns the rows that it found"
    assert not run(context, hours=2)
    columns = "environment, model, failed_run_count, error_class, audits, row_count"
    assert rows(context, f"SELECT {columns} FROM ops.failing_models") == [
        ("prod", "retail.orders", 2, "NodeAuditsErrors", "not_null", 1)
    ]
    context.engine_adapter.execute("DELETE FROM RAW.demo.orders WHERE id IS NULL")
    assert run(context, hours=3)
    assert newest(context, "status, failed_models, skipped_model_count") == ("succeeded", None, 0)
    assert rows(context, "SELECT * FROM ops.failing_models") == []


def test_a_warning_is_recorded_and_the_run_succeeds(context: RecordedContext) -> None:
    insert(context, "100, '30'")
    assert run(context)
    assert newest(context, "status, failed_audit_count, warned_audit_count") == ("succeeded", 0, 1)
    assert ("forall_non_blocking", "warned", 1) in of_newest(context, "ops.audit_results", "audit, status, row_count")


def test_an_error_is_recorded_by_its_class_and_no_value_of_a_row_is(context: RecordedContext) -> None:
    insert(context, f"3, '{ADDRESS}'")
    assert not run(context)
    assert newest(context, "status, error_class, failed_models") == ("failed", "ConversionException", "retail.notes")
    assert ADDRESS not in str(rows(context, "SELECT * FROM run_log.events"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SQLMeshError(ADDRESS)])
def test_an_interrupted_run_is_recorded_as_failed(
    context: RecordedContext, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Scheduler, "run_merged_intervals", fail)
    with pytest.raises(type(error)):
        run(context)
    assert newest(context, "status, error_class") == ("failed", type(error).__name__)
    assert ADDRESS not in str(rows(context, "SELECT * FROM run_log.events"))


def test_a_run_that_is_interrupted_before_a_failing_model_leaves_it_failing(
    context: RecordedContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(context, "NULL, '30'")
    assert not run(context)

    def succeed_and_interrupt(scheduler: RecordedScheduler, **_: object) -> None:
        [notes] = [one for one in scheduler.snapshots.values() if "NOTES" in one.name]
        scheduler.record.computed(notes, (datetime.now(UTC) - HOUR, datetime.now(UTC)), None)
        raise KeyboardInterrupt

    monkeypatch.setattr(Scheduler, "run_merged_intervals", succeed_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(context, hours=2)
    monkeypatch.undo()
    assert newest(context, "status, is_partial, succeeded_model_count") == ("failed", True, 1)
    failing = "SELECT model FROM ops.failing_models"
    assert rows(context, failing) == [("retail.orders",)]
    of_totals = "SELECT failed_models FROM ops.model_freshness WHERE model = 'retail.totals'"
    assert set(rows(context, of_totals)) <= {("retail.orders",)}
    context.engine_adapter.execute("DELETE FROM RAW.demo.orders WHERE id IS NULL")
    assert run(context, hours=3)
    assert rows(context, failing) == []


def test_a_run_that_ends_in_the_past_leaves_a_model_failing(context: RecordedContext) -> None:
    insert(context, "NULL, '30'")
    assert not run(context)
    context.run("prod", end=datetime.now(UTC) - 24 * HOUR, skip_janitor=True)
    assert newest(context, "status, is_partial") == ("nothing_due", True)
    assert rows(context, "SELECT model FROM ops.failing_models") == [("retail.orders",)]


def test_a_killed_run_shows_as_running_until_the_next_one_closes_it(workspace: Workspace) -> None:
    code = """
import os, signal
from datetime import UTC, datetime, timedelta
from meshflow.runs import RecordedContext, RecordedScheduler
RecordedScheduler.run_merged_intervals = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
at = datetime.now(UTC) + timedelta(hours=1)
RecordedContext(paths=".", gateway="local").run("prod", end=at, execution_time=at, skip_janitor=True)
"""
    environment = os.environ | workspace.environment
    killed = subprocess.run([sys.executable, "-c", code], cwd=workspace.path, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(workspace.context(kind=RecordedContext)) as context:
        assert newest(context, "status, ended_at") == ("running", None)
        assert run(context)
        states = rows(context, "SELECT command, status FROM ops.runs ORDER BY started_at")
        assert states == [("plan", "succeeded"), ("run", "killed"), ("run", "succeeded")]
        assert run(context, hours=2)
        [(count,)] = rows(context, f"SELECT COUNT(*) FROM {EVENTS} WHERE status = 'killed'")
        assert count == 1, "a killed run is closed once"


def test_a_plan_that_fails_is_recorded_and_one_that_changes_nothing_is_not(
    context: RecordedContext, workspace: Workspace
) -> None:
    apply(context, "prod")
    assert len(rows(context, "SELECT * FROM ops.runs")) == 1
    workspace.edit("models/retail/totals.sql", "COUNT(id)", "COUNT(id) + ERROR('planted')")
    context.load()
    with pytest.raises(SQLMeshError):
        apply(context, "dev")
    command, environment, status, error_class = newest(context, "command, environment, status, error_class")
    assert (command, environment, status) == ("plan", "dev", "failed")
    assert error_class


def test_a_plan_that_waits_for_an_answer_is_no_open_record(
    context: RecordedContext, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.edit("models/retail/totals.sql", "COUNT(id)", "COUNT(*)")
    context.load()
    monkeypatch.setattr(PlanBuilder, "apply", lambda _: None)  # nobody has answered
    apply(context, "dev")
    assert newest(context, "command, environment, status") == ("plan", "prod", "succeeded")


def test_a_record_that_cannot_be_written_is_a_warning_and_the_run_succeeds(
    context: RecordedContext, caplog: pytest.LogCaptureFixture
) -> None:
    context.engine_adapter.execute("DROP TABLE run_log.events CASCADE")
    context.engine_adapter.execute("CREATE TABLE run_log.events (run_id INT)")
    assert run_only(context)
    assert caplog.text.count("This run is not recorded in run_log.events: ConversionException, see the log.") == 1


def run_only(context: RecordedContext) -> bool:
    at = datetime.now(UTC) + HOUR
    status = context.run("prod", end=at, execution_time=at, skip_janitor=True, select_models=["retail.notes"])
    return bool(status.is_success)


def test_the_table_is_created_by_the_first_recorded_command_if_no_plan_has(context: RecordedContext) -> None:
    context.engine_adapter.execute("DROP SCHEMA run_log CASCADE")
    assert run_only(context)
    [(count,)] = rows(context, "SELECT COUNT(*) FROM run_log.events WHERE event = 'ended' AND status = 'succeeded'")
    assert count == 1


def test_each_load_is_recorded_once_after_it_has_ended(context: RecordedContext) -> None:
    context.engine_adapter.execute(
        [
            "CREATE SCHEMA RAW.loader",
            (
                "CREATE TABLE RAW.loader.loads AS SELECT 'Retail' AS source, 'sales' AS table_name, "
                "TIMESTAMP '2026-11-01 10:00:00' AS started_at, TIMESTAMP '2026-11-01 10:00:02.5' AS finished_at, "
                "0 AS row_count, 'finished' AS status, NULL::VARCHAR AS error_class"
            ),
            (
                "INSERT INTO RAW.loader.loads VALUES "
                "('retail', 'returns', '2026-11-01 10:00:00', NULL, 0, 'rejected', 'TableError'), "
                "('edtech', 'courses', '2026-11-01 10:00:00', NULL, 0, 'running', NULL)"
            ),
        ]
    )
    query = "SELECT * REPLACE (started_at::TIME AS started_at) FROM ops.loads ORDER BY ALL"
    ten = datetime(2026, 11, 1, 10).time()
    loads = [
        ("retail.returns", ten, "rejected", "TableError", 0, None),
        ("retail.sales", ten, "finished", None, 0, Decimal("2.5")),
    ]
    assert run(context)
    assert rows(context, query) == loads
    context.engine_adapter.execute("UPDATE RAW.loader.loads SET status = 'killed' WHERE status = 'running'")
    assert run(context, hours=2)
    assert rows(context, query) == [("edtech.courses", ten, "killed", None, 0, None), *loads]
    [(count,)] = rows(context, f"SELECT COUNT(*) FROM {EVENTS} WHERE event = 'load'")
    assert count == len(loads) + 1


def test_a_column_that_an_older_table_lacks_is_added(context: RecordedContext) -> None:
    context.engine_adapter.execute("DROP SCHEMA run_log CASCADE")
    context.engine_adapter.execute("CREATE SCHEMA run_log")
    context.engine_adapter.execute("CREATE TABLE run_log.events (run_id TEXT, event TEXT, status TEXT)")
    assert run_only(context)
    [(event,)] = rows(context, "SELECT event FROM run_log.events WHERE NOT seconds IS NULL AND event = 'ended'")
    assert event == "ended"


def test_loads_older_than_the_history_are_not_recorded_again(context: RecordedContext) -> None:
    context.engine_adapter.execute("CREATE SCHEMA RAW.loader")
    context.engine_adapter.execute(
        "CREATE TABLE RAW.loader.loads AS SELECT 'retail' AS source, 'sales' AS table_name, "
        "TIMESTAMP '2020-01-01 10:00:00' AS started_at, TIMESTAMP '2020-01-01 10:00:02' AS finished_at, "
        "0 AS row_count, 'finished' AS status, NULL::VARCHAR AS error_class"
    )
    assert run(context)
    assert rows(context, "SELECT * FROM ops.loads") == []


def test_records_older_than_run_history_days_are_deleted(context: RecordedContext) -> None:
    days = context.config.variables["run_history_days"]
    context.engine_adapter.execute(
        f"UPDATE run_log.events SET recorded_at = recorded_at - INTERVAL '{days}' DAY - INTERVAL '1' HOUR"
    )
    assert run(context)
    assert rows(context, "SELECT command FROM ops.runs") == [("run",)]


def test_recording_takes_one_statement_at_the_start_and_two_at_the_end(context: RecordedContext) -> None:
    with recorded() as statements:
        context.run("prod", skip_janitor=True)
    written = [statement.split()[0] for statement in writes(statements) if '"RUN_LOG"."EVENTS"' in statement]
    assert written == ["INSERT", "INSERT", "DELETE"]


@pytest.fixture
def command(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(workspace.path)
    for name, value in workspace.environment.items():
        monkeypatch.setenv(name, value)
    return workspace


def meshflow(*arguments: str, **options: bool) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False, **options)


def test_meshflow_plan_and_run_take_the_options_of_sqlmesh(command: Workspace) -> None:
    command.edit("models/retail/totals.sql", "COUNT(id)", "COUNT(*)")
    planned = meshflow("plan", "dev", "--auto-apply", "--skip-tests", "--skip-linter", "--gateway", "local")
    assert planned.exit_code == 0, planned.output
    done = meshflow("run", "prod", "--select-model", "retail.notes", "--ignore-cron")
    assert done.exit_code == 0, done.output
    with closing(command.context(kind=RecordedContext)) as context:
        states = rows(context, "SELECT command, environment, status FROM ops.runs ORDER BY started_at")
    assert states == [("plan", "prod", "succeeded"), ("plan", "dev", "succeeded"), ("run", "prod", "nothing_due")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_environment"], "There is no environment 'no_such_environment' on gateway local"),
        (["prod", "--start", "garbage"], "'garbage' is no time"),
        (["prod", "--end", "soon"], "'soon' is no time"),
    ],
)
def test_what_is_mistyped_is_no_run(command: Workspace, arguments: list[str], message: str) -> None:
    with pytest.raises(click.ClickException, match=message):
        meshflow("run", *arguments, standalone_mode=False)
    with closing(command.context(kind=RecordedContext)) as context:
        assert rows(context, "SELECT command FROM ops.runs") == [("plan",)]


def test_meshflow_run_ends_with_what_failed_and_wraps_no_line_in_a_pipe(
    command: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(command.context(kind=RecordedContext)) as context:
        insert(context, "NULL, '30'")
    later, at = RecordedContext.run, datetime.now(UTC) + HOUR
    monkeypatch.setattr(
        RecordedContext,
        "run",
        lambda self, environment, **options: later(self, environment, **(options | {"end": at, "execution_time": at})),
    )
    failed = meshflow("run", "prod")
    assert failed.exit_code == 1
    *_, audit, skipped, _ = failed.stderr.splitlines()
    assert audit.startswith("retail.orders has failed: audit not_null of id found 1 rows. ")
    assert audit.endswith("(docs/runbooks/failed-audit.md)")
    assert skipped == "Skipped, because they read what failed: retail.report, retail.totals"
    assert max(map(len, failed.output.splitlines())) > 80


def test_a_standalone_audit_stops_neither_freshness_nor_audits(command: Workspace) -> None:
    text = "AUDIT (name few_totals, dialect snowflake, standalone TRUE, owner test);\n\n"
    (command.path / "audits" / "few_totals.sql").write_text(f"{text}SELECT total FROM retail.totals WHERE total > 9\n")
    planned = meshflow("plan", "prod", "--auto-apply", "--skip-tests", "--skip-linter", "--gateway", "local")
    assert planned.exit_code == 0, planned.output
    assert "Freshness is not recorded" not in planned.output
    assert "No model of prod on gateway local reads a source" in meshflow("freshness", "--gateway", "local").output
    audited = meshflow("audit", "--gateway", "local")
    assert audited.exit_code == 0, audited.output


def test_meshflow_run_has_the_options_of_sqlmesh(command: Workspace) -> None:
    unknown = meshflow("run", "prod", "--no-such-option")
    assert unknown.exit_code == 2
    assert "no such option" in unknown.output.lower()
    helped = meshflow("run", "--help")
    assert helped.exit_code == 0
    assert "--select-model" in helped.output
    assert "--load" in helped.output


def test_sample_data_cannot_be_loaded_before_a_run(command: Workspace) -> None:
    assert meshflow("run", "prod", "--load").exit_code == 2
