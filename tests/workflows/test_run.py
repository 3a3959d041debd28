"""Scheduled workflows, and the one for closed pull requests: run.yml, weekly.yml and pr-close.yml."""

import json
import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from changes import added_column
from conftest import Actions, all_text_on
from fake_github import FakeGitHub, Issue
from warehouse import Warehouse

from meshflow.ci.github import code
from meshflow.ci.lock import prod_lock

MART = "rpt_net_revenue_by_country"
CANARY = "canary@example.org"
"""Personal data in a row."""


def alerts(github: FakeGitHub, workflow: str) -> list[Issue]:
    return [one for one in github.issues.values() if "alert" in one.labels and f" {workflow} " in one.title]


@pytest.fixture
def failing(warehouse: Warehouse) -> None:
    """Make one statement of the next run fail."""
    warehouse.delete_intervals(MART)
    # Snowflake's error for a cast, with the value of a row.
    message = f"Numeric value '{CANARY}' is not recognized"
    fault = {"statement": f'{MART.upper()}__\\d+"', "code": 100038, "message": message}
    warehouse.snowflake.fail(fault)


def test_a_failed_run_opens_an_alert_and_only_its_encrypted_artifact_has_the_value_of_the_row(
    failing: None, actions: Actions, github: FakeGitHub, tmp_path: Path
) -> None:
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"load": "success", "run": "failure", "alert": "success"}, run
    assert "failed" in run.summary
    [alert] = alerts(github, "Run")
    assert (alert.state, alert.comments) == ("open", [])
    assert f"retail.{MART}: ProgrammingError 100038" in run.log
    failure = f"{code(f'retail.{MART}')} (owner `retail_analytics`) has failed since "
    assert f"\n- {failure}" in run.summary
    assert "UTC: ProgrammingError 100038" in run.summary
    assert alert.body.startswith(f"Failed: {code(f'retail.{MART}')} (`ProgrammingError`)\n\n- {failure}")
    errors = run.artifacts["errors/errors.log.enc"]
    printed = (run.folder / "log.jsonl").read_text()
    assert CANARY not in "\n".join([printed, run.summary, all_text_on(github)])
    assert CANARY.encode() not in errors.read_bytes()
    assert CANARY in decrypt(errors, actions, tmp_path).read_text()


def decrypt(artifact: Path, actions: Actions, folder: Path) -> Path:
    """An artifact as the holder of the passphrase reads it."""
    passphrase = actions.runner.secrets["snowflake-prod"]["MESHFLOW_EXPORT_PASSPHRASE"]
    command = ["openssl", "enc", "-d", "-aes-256-cbc", "-pbkdf2", "-iter", "600000", "-pass", "env:PASSPHRASE"]
    plain = folder / artifact.stem
    subprocess.run([*command, "-in", artifact, "-out", plain], env=os.environ | {"PASSPHRASE": passphrase}, check=True)
    return plain


def test_a_second_failed_run_updates_the_alert(
    failing: None, actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"load": "success", "run": "failure", "alert": "success"}, run
    [alert] = alerts(github, "Run")
    assert (alert.state, alert.comments) == ("open", [])
    assert "Latest failed run: " in alert.body


def test_a_successful_run_closes_the_alert_and_reports_its_models(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    warehouse.write(seed=2)
    warehouse.delete_intervals(MART)
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"load": "success", "run": "success", "alert": "success"}, run
    [alert] = alerts(github, "Run")
    assert (alert.state, len(alert.comments)) == ("closed", 1)
    assert re.search(r"1 model, 1 interval, .* rows written, [\d,]+ s; 1 audit passed", run.summary)
    assert code(f"retail.{MART}") in run.summary
    assert re.search(r'"rows": *[1-9]', run.log)


def test_a_run_fails_without_a_statement_while_another_process_has_the_prod_lock(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in warehouse.state.items():
        monkeypatch.setenv(name, value)
    warehouse.delete_intervals(MART)
    with prod_lock("run #1"), warehouse.snowflake.sent() as statements:
        run = actions.cron("run.yml").wait()
    assert run.jobs == {"load": "success", "run": "failure", "alert": "success"}, run
    assert [alert.state for alert in alerts(github, "Run")].count("open") == 1
    assert "Nothing was run: prod is locked by run #1 on " in run.log
    assert statements == []


def test_the_weekly_workflow_audits_reconciles_cleans_up_and_exports_the_state_encrypted(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse, tmp_path: Path
) -> None:
    run = actions.cron("weekly.yml").wait()
    assert run.jobs == {"reconcile": "success", "check": "success", "alert": "success"}, run
    assert alerts(github, "Weekly") == []
    encrypted = run.artifacts["state/state.json.enc"]
    assert b"snapshots" not in encrypted.read_bytes()
    state = decrypt(encrypted, actions, tmp_path)
    assert "prod" in json.loads(state.read_text())["environments"]


def test_closing_a_pull_request_deletes_its_environment(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse, tmp_path: Path
) -> None:
    github.push("closing", added_column(github, "closing_count"))
    pull = github.open_pull("closing")
    warehouse.build(github, pull, tmp_path)
    assert f"pr_{pull.number}" in warehouse.environments()
    pull.state = "closed"
    run = actions.closed(pull).wait()
    assert run.jobs == {"invalidate": "success"}, run
    assert f"pr_{pull.number}" not in warehouse.environments()


def test_a_closed_pull_request_of_a_fork_starts_no_job(offline_actions: Actions, github: FakeGitHub) -> None:
    pull = github.open_pull("main", fork="stranger/meshflow")
    assert offline_actions.closed(pull).wait().jobs == {}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sqlmesh._environments SET plan_id = 'planted' WHERE name = 'prod' RETURNING 1",
        "INSERT INTO sqlmesh._environments (name, plan_id) VALUES ('prod2', 'planted')",
        "UPDATE sqlmesh._snapshots SET snapshot = 'planted'",
        "DELETE FROM sqlmesh._snapshots",
        "UPDATE sqlmesh._intervals SET is_removed = TRUE",
        "DELETE FROM sqlmesh._intervals",
        *(
            "INSERT INTO sqlmesh._intervals (id, created_ts, name, version, start_ts, end_ts, is_dev, is_compacted, "
            "is_removed, is_pending_restatement) SELECT 'planted', created_ts, name, version, start_ts, end_ts, "
            f"is_dev, FALSE, {values} FROM sqlmesh._intervals LIMIT 1"
            for values in ("TRUE, FALSE", "FALSE, TRUE", "NULL, NULL")
        ),
        "UPDATE sqlmesh._versions SET schema_version = 0",
        "CREATE TABLE sqlmesh.mine (one INT)",
    ],
)
def test_the_role_of_pull_requests_changes_nothing_of_prod_in_the_state(warehouse: Warehouse, statement: str) -> None:
    """The other tests build environments of pull requests with this role, and delete one."""
    before = warehouse.state_rows()
    with suppress(psycopg.errors.InsufficientPrivilege):
        warehouse.as_ci(statement)  # an UPDATE of prod's environment finds no row
    assert warehouse.state_rows() == before


def test_planted_code_in_the_state_stops_a_run_with_the_name_of_the_model(
    actions: Actions, warehouse: Warehouse
) -> None:
    with warehouse.planted("PII.STUDENT", "raise SystemExit('planted code was executed')"):
        run = actions.cron("run.yml").wait()
    assert run.jobs == {"load": "success", "run": "failure", "alert": "success"}, run
    assert "differs from the checkout at pii.student, though its fingerprints say otherwise" in run.log
    assert "planted" not in run.log
    assert actions.cron("run.yml").wait().jobs == {"load": "success", "run": "success", "alert": "success"}
