"""Recorded runs on Snowflake: how many statements they add, and which open records they close."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from emulated import Snowflake
from run_log import apply, small_project
from sources import new_state
from sqlmesh.core.context import Context
from workspace import Workspace

from meshflow.runs import LONGEST_RUN, RecordedContext, RunLog
from meshflow.source.server import Server

MAX_STATEMENTS = 5
"""How many more statements a recorded run may send."""
PLANNED_AT = datetime(2026, 11, 10, 11, tzinfo=UTC)


@pytest.fixture(scope="module")
def workspace(
    project: Path, postgres: Server, snowflake: Snowflake, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    workspace = small_project(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))
    snowflake.query("CREATE SCHEMA RAW.DEMO")
    snowflake.query("CREATE TABLE RAW.DEMO.ORDERS AS SELECT 1 AS ID, '10' AS NOTE")
    snowflake.query("CREATE SCHEMA RAW.LOADER")
    snowflake.query(
        "CREATE TABLE RAW.LOADER.LOADS AS SELECT 'demo' AS SOURCE, 'orders' AS TABLE_NAME, "
        "'2026-11-10 10:00:00'::TIMESTAMP_NTZ AS STARTED_AT, '2026-11-10 10:00:02'::TIMESTAMP_NTZ AS FINISHED_AT, "
        "0::BIGINT AS ROW_COUNT, 'finished' AS STATUS, NULL::VARCHAR AS ERROR_CLASS"
    )
    apply(workspace.context("snowflake"), "prod", PLANNED_AT)
    return workspace


def test_a_recorded_run_sends_at_most_five_more_statements(workspace: Workspace, snowflake: Snowflake) -> None:
    def sent(context: Context, hours: int) -> list[str]:
        at = PLANNED_AT + timedelta(hours=hours)
        with snowflake.sent() as statements:
            assert not context.run("prod", end=at, execution_time=at, skip_janitor=True).is_failure
        return statements

    plain, recorded = sent(workspace.context("snowflake"), 1), sent(workspace.context("snowflake", RecordedContext), 2)
    assert len(recorded) - len(plain) <= MAX_STATEMENTS, recorded
    # Nothing is due.
    plain, recorded = sent(workspace.context("snowflake"), 2), sent(workspace.context("snowflake", RecordedContext), 2)
    assert len(recorded) - len(plain) <= MAX_STATEMENTS, recorded
    statuses = snowflake.query("SELECT STATUS FROM ANALYTICS.OPS.RUNS ORDER BY STARTED_AT")
    assert statuses == [("succeeded",), ("nothing_due",)]
    loads = snowflake.query("SELECT SOURCE_TABLE, STATUS, ROW_COUNT, DURATION_SECONDS FROM ANALYTICS.OPS.LOADS")
    assert [tuple(map(str, load)) for load in loads] == [("demo.orders", "finished", "0", "2.000")]


def test_a_plan_is_recorded_and_an_environment_sees_the_runs_of_all(workspace: Workspace, snowflake: Snowflake) -> None:
    workspace.edit("models/retail/totals.sql", "COUNT(id)", "COUNT(*)")
    apply(workspace.context("snowflake", RecordedContext), "dev")
    rows = snowflake.query(
        "SELECT COMMAND, STATUS, SUCCEEDED_MODEL_COUNT > 0 FROM ANALYTICS.OPS.RUNS WHERE ENVIRONMENT = 'dev'"
    )
    assert rows == [("plan", "succeeded", True)]


def test_only_records_of_processes_that_must_be_gone_are_closed(workspace: Workspace, snowflake: Snowflake) -> None:
    context = workspace.context("snowflake", RecordedContext)
    old, new = datetime.now(UTC) - LONGEST_RUN - timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    logs = {}
    for name, environment, at in (("old", "prod", old), ("new", "prod", new), ("other", "dev", old)):
        logs[name] = RunLog(context, "run", environment)
        logs[name].begin(is_alone=False)
        snowflake.query(
            f"UPDATE ANALYTICS.RUN_LOG.EVENTS SET RECORDED_AT = '{at:%Y-%m-%d %H:%M:%S}' "
            f"WHERE RUN_ID = '{logs[name].run_id}'"
        )

    def killed() -> set[str]:
        found = {
            run_id for (run_id,) in snowflake.query("SELECT RUN_ID FROM ANALYTICS.OPS.RUNS WHERE STATUS = 'killed'")
        }
        return {name for name, log in logs.items() if log.run_id in found}

    RunLog(context, "run", "prod").begin(is_alone=False)
    assert killed() == {"old"}
    RunLog(context, "run", "prod").begin(is_alone=True)
    assert killed() == {"old", "new"}
