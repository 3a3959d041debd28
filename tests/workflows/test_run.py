"""Scheduled workflows, and the one for closed pull requests: run.yml, weekly.yml and pr-close.yml."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from changes import added_column
from conftest import Actions
from fake_github import FakeGitHub, Issue
from warehouse import Warehouse

from meshflow.ci.github import code
from meshflow.ci.lock import prod_lock

MART = "rpt_net_revenue_by_country"


def alerts(github: FakeGitHub, workflow: str) -> list[Issue]:
    return [one for one in github.issues.values() if "alert" in one.labels and f" {workflow} " in one.title]


@pytest.fixture
def failing(warehouse: Warehouse) -> None:
    """Make one statement of the next run fail."""
    warehouse.delete_intervals(MART)
    # Snowflake's error for a query that is too large for its warehouse.
    fault = {"statement": f'{MART.upper()}__\\d+"', "code": 604, "message": "SQL execution canceled"}
    warehouse.snowflake.fail(fault)


def test_a_failed_run_opens_an_alert(failing: None, actions: Actions, github: FakeGitHub, warehouse: Warehouse) -> None:
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"run": "failure", "alert": "success"}, run
    assert "failed" in run.summary
    [alert] = alerts(github, "Run")
    assert (alert.state, alert.comments) == ("open", [])


def test_a_second_failed_run_updates_the_alert(
    failing: None, actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"run": "failure", "alert": "success"}, run
    [alert] = alerts(github, "Run")
    assert (alert.state, alert.comments) == ("open", [])
    assert "Latest failed run: " in alert.body


def test_a_successful_run_closes_the_alert_and_reports_its_models(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    warehouse.write(seed=2)
    warehouse.delete_intervals(MART)
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"run": "success", "alert": "success"}, run
    [alert] = alerts(github, "Run")
    assert (alert.state, len(alert.comments)) == ("closed", 1)
    assert re.search(r"models, [\d,]+ intervals, .* rows written, [\d,]+ s; [\d,]+ audits passed", run.summary)
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
    assert run.jobs == {"run": "failure", "alert": "success"}, run
    assert [alert.state for alert in alerts(github, "Run")].count("open") == 1
    assert "Nothing was run: prod is locked by run #1 on " in run.log
    assert statements == []


def test_the_weekly_workflow_audits_reconciles_cleans_up_and_exports_the_state_encrypted(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse, tmp_path: Path
) -> None:
    run = actions.cron("weekly.yml").wait()
    assert run.jobs == {"check": "success", "alert": "success"}, run
    assert alerts(github, "Weekly") == []
    passphrase = actions.runner.secrets["snowflake-prod"]["MESHFLOW_EXPORT_PASSPHRASE"]
    encrypted = run.artifacts["state/state.json.enc"]
    assert b"snapshots" not in encrypted.read_bytes()
    decrypt = ["openssl", "enc", "-d", "-aes-256-cbc", "-pbkdf2", "-iter", "600000", "-pass", "env:PASSPHRASE"]
    state = tmp_path / "state.json"
    subprocess.run([*decrypt, "-in", encrypted, "-out", state], env=os.environ | {"PASSPHRASE": passphrase}, check=True)
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
