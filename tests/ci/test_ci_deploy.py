"""`meshflow ci deploy` and its lock: prod and main always agree, or a comment on the pull request reports otherwise.

The commands that it starts are a stub, which records the tree of prod. The real ones deploy in tests/workflows.
"""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_github import FakeGitHub, Job, PullRequest
from pooler import rejecting_pooler
from sources import new_state
from test_ci_approvals import GHOSTS

from meshflow.ci.lock import Lock, prod_lock
from meshflow.cli import main
from meshflow.source.server import Server

# It plans the folder given by --path and records its tree as prod's. The file `pause` stops the plan of a change.
MESHFLOW = """#!/bin/sh
echo "$*" >> "$STUBS/calls"
env >> "$STUBS/environment"
[ "$2" = apply ] || exit 0
case "$*" in
*--no-gaps*) status=change-status ;;
*) status=main-status ;;
esac
if [ $status = main-status ] && [ -e "$STUBS/main-status" ]; then exit "$(cat "$STUBS/main-status")"; fi
git -C "$4" rev-parse 'HEAD^{tree}' > "$STUBS/prod"
while [ $status = change-status ] && [ -e "$STUBS/pause" ]; do sleep 0.05; done
exit "$(cat "$STUBS/$status" 2>/dev/null || echo 0)"
"""
START = """
import os, sys
from meshflow.cli import main
sys.executable = os.environ["STUBS"] + "/python"
main()
"""


class Scenario:
    """A repository with an approved pull request, checked out as in deploy.yml, and a prod built from main."""

    def __init__(self, github: FakeGitHub, folder: Path, state: dict[str, str]) -> None:
        self.github, self.folder = github, folder
        github.roles = {"ann": "write", "bob": "write"}
        github.push("main", {"README.md": "A warehouse.\n"})
        github.push("feature", {"models/x.sql": "SELECT 1\n"})
        self.pull = self._open("feature")
        self.stubs = folder / "bin"
        self.stubs.mkdir()
        (self.stubs / "meshflow").write_text(MESHFLOW)
        (self.stubs / "meshflow").chmod(stat.S_IRWXU)
        self.environment = {
            **state,
            "STUBS": str(self.stubs),
        }
        self.job = self.check_out("job")
        (self.stubs / "prod").write_text(github.tree("main"))

    def _open(self, branch: str) -> PullRequest:
        pull = self.github.open_pull(branch)
        self.github.check(pull.head_sha, "ok")
        self.github.check(pull.head_sha, "PR environment", external_id=pull.base_sha)
        self.github.review(pull, "bob", "APPROVED")
        return pull

    def check_out(self, name: str) -> Job:
        """A job of deploy.yml for the pull request in its current state, in a folder of its own."""
        job = self.github.job(self.github.comment_event(self.pull, "/deploy", user="bob"), self.folder / name)
        workspace = job.folder / "workspace"
        for path, ref in ((workspace, "main"), (workspace / "change", self.pull.head_sha)):
            subprocess.run(["git", "clone", "-q", self.github.git_dir, path], check=True)  # noqa: S607
            subprocess.run(["git", "-C", path, "checkout", "-q", ref], check=True)  # noqa: S607
        return job

    def command(self) -> list[str]:
        return ["ci", "deploy", "--sha", self.sha, "--path", "change", "--gateway", "live", "--wait", "0"]

    @property
    def sha(self) -> str:
        return self.pull.head_sha

    def deploy(self, job: Job | None = None, sha: str | None = None) -> Result:
        job = job or self.job
        command = [sha if part == self.sha and sha else part for part in self.command()]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(job.folder / "workspace")
            patch.setattr(sys, "executable", str(self.stubs / "python"))  # the stubs are in its folder
            result = CliRunner(env=self.environment | job.environment).invoke(main, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def start(self, job: Job | None = None) -> subprocess.Popen[bytes]:
        """Deploy in a process of its own, in which the plan has updated prod and waits for `resume`."""
        (self.stubs / "pause").touch()
        job = job or self.job
        process = subprocess.Popen(
            [sys.executable, "-c", START, *self.command()],
            env=os.environ | self.environment | job.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=job.folder / "workspace",
        )
        self.wait_for(lambda: any("--no-gaps" in call for call in self.calls))
        return process

    def resume(self) -> None:
        (self.stubs / "pause").unlink()

    @staticmethod
    def wait_for(condition: Callable[[], bool]) -> None:
        for _ in range(600):
            if condition():
                return
            time.sleep(0.1)
        raise AssertionError("the condition was not met within 60 s")

    @property
    def calls(self) -> list[str]:
        log = self.stubs / "calls"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def prod(self) -> str:
        """The tree that prod was built from."""
        return (self.stubs / "prod").read_text().strip()

    @property
    def prod_matches_main(self) -> bool:
        return self.prod == self.github.tree("main")

    @property
    def comment(self) -> str:
        """The only comment on the pull request."""
        (comment,) = self.github.comments_on(self.pull)
        return comment


@pytest.fixture(scope="module")
def state(postgres: Server) -> dict[str, str]:
    return new_state(postgres)


@pytest.fixture
def scenario(tmp_path: Path, state: dict[str, str]) -> Iterator[Scenario]:
    with FakeGitHub(tmp_path / "origin.git") as github:
        yield Scenario(github, tmp_path, state)
    assert not github.internal_errors


def test_a_deploy_updates_prod_merges_the_pull_request_and_deletes_its_environment(scenario: Scenario) -> None:
    before = scenario.github.sha("main")
    result = scenario.deploy()
    assert result.exit_code == 0, result.output
    assert scenario.pull.merged
    assert scenario.prod_matches_main
    assert scenario.github.git("log", "-1", "--format=%P", "main") == before, "it is squashed"
    assert scenario.calls == ["ci apply --path change --no-gaps --gateway live", "ci invalidate pr_1 --gateway live"]
    assert "Deployed and merged" in scenario.comment
    assert "the-token-of-the-job" not in result.output


def test_the_processes_that_evaluate_a_change_have_neither_githubs_token_nor_the_runners_files(
    scenario: Scenario,
) -> None:
    assert scenario.deploy().exit_code == 0
    environment = (scenario.stubs / "environment").read_text()
    assert "MESHFLOW_STATE_HOST=" in environment
    assert "the-token-of-the-job" not in environment
    assert not re.search(r"^GITHUB_(?!ACTIONS=)", environment, re.MULTILINE)


@pytest.mark.parametrize("haunt", GHOSTS)
def test_a_deleted_account_stops_no_deploy(
    scenario: Scenario, haunt: Callable[[FakeGitHub, PullRequest], None]
) -> None:
    haunt(scenario.github, scenario.pull)
    result = scenario.deploy()
    assert result.exit_code == 0, result.output
    assert scenario.prod_matches_main
    assert "Deployed and merged" in scenario.comment


def assert_rejected(scenario: Scenario, result: Result, reason: str) -> None:
    """Nothing has changed, and the comment on the pull request contains the reason."""
    assert result.exit_code == 1, result.output
    assert scenario.calls == []
    assert not scenario.pull.merged
    assert reason in scenario.comment


def test_a_push_to_the_pull_request_after_the_gate_rejects_the_deploy(scenario: Scenario) -> None:
    sha = scenario.sha
    scenario.github.push("feature", {"models/x.sql": "SELECT 2\n"})
    assert_rejected(scenario, scenario.deploy(sha=sha), f"no longer `{sha}`")


def test_a_push_to_main_after_the_gate_rejects_the_deploy(scenario: Scenario) -> None:
    scenario.github.push("main", {"models/y.sql": "SELECT 2\n"})
    assert_rejected(scenario, scenario.deploy(), "has moved on since")


def test_an_approval_withdrawn_after_the_gate_rejects_the_deploy(scenario: Scenario) -> None:
    scenario.pull.reviews[0].state = "DISMISSED"
    assert_rejected(scenario, scenario.deploy(), "approved by 0 of 1")


def test_a_merge_that_branch_protection_blocks_is_rejected_before_the_deploy(scenario: Scenario) -> None:
    scenario.pull.blocked = True
    assert_rejected(scenario, scenario.deploy(), "block the merge")


def test_a_checkout_with_uncommitted_changes_is_rejected(scenario: Scenario) -> None:
    (scenario.job.folder / "workspace" / "change" / "models" / "x.sql").write_text("SELECT 666\n")
    result = scenario.deploy()
    assert result.exit_code == 1
    assert "has uncommitted changes" in result.output
    assert scenario.calls == []


def test_a_failing_plan_is_rolled_back_and_not_merged(scenario: Scenario) -> None:
    (scenario.stubs / "change-status").write_text("1")
    assert scenario.deploy().exit_code == 1
    assert not scenario.pull.merged
    assert scenario.prod_matches_main
    assert "the plan failed. Prod was rolled back to" in scenario.comment


def test_prod_is_rolled_back_when_github_rejects_the_merge(scenario: Scenario) -> None:
    scenario.github.merge_rejections.append("At least 1 approving review is required by reviewers with write access.")
    assert scenario.deploy().exit_code == 1
    assert not scenario.pull.merged
    assert scenario.prod_matches_main
    assert "GitHub rejected the merge" in scenario.comment
    assert "Prod was rolled back to" in scenario.comment
    assert scenario.calls[-1] == "ci apply --path . --gateway live"
    # And the next attempt succeeds.
    assert scenario.deploy(scenario.check_out("again")).exit_code == 0
    assert scenario.pull.merged
    assert scenario.prod_matches_main


def test_a_push_to_the_pull_request_during_the_deploy_rolls_prod_back(scenario: Scenario) -> None:
    sha = scenario.sha
    scenario.github.when(
        "PUT /pulls/1/merge", lambda: scenario.github.push("feature", {"models/x.sql": "SELECT evil\n"})
    )
    assert scenario.deploy(sha=sha).exit_code == 1
    assert not scenario.pull.merged
    assert scenario.prod_matches_main
    assert "Prod was rolled back to" in scenario.comment


def test_a_failed_rollback_reports_that_prod_may_be_ahead(scenario: Scenario) -> None:
    scenario.github.merge_rejections.append("no")
    (scenario.stubs / "main-status").write_text("1")
    assert scenario.deploy().exit_code == 1
    assert "Prod may be ahead of" in scenario.comment


def test_a_push_to_main_during_the_plan_rolls_prod_back(scenario: Scenario) -> None:
    deploy = scenario.start()
    scenario.github.push("main", {"models/y.sql": "SELECT 2\n"})
    scenario.resume()
    assert deploy.wait() == 1
    assert not scenario.pull.merged
    assert scenario.prod == scenario.github.tree("main^")
    assert "has moved on during the deploy" in scenario.comment


def test_a_push_to_main_just_before_the_merge_is_reported(scenario: Scenario) -> None:
    scenario.github.when("PUT /pulls/1/merge", lambda: scenario.github.push("main", {"models/y.sql": "SELECT 2\n"}))
    assert scenario.deploy().exit_code == 1
    assert scenario.pull.merged
    assert not scenario.prod_matches_main
    assert "prod differs from" in scenario.comment


def stage(scenario: Scenario) -> Callable[[], None]:
    """A branch equal to main, and what makes it the base of the pull request."""
    scenario.github.push("stage", {"README.md": "A warehouse.\n"})
    scenario.github.git("update-ref", "refs/heads/stage", scenario.github.sha("main"))
    return lambda: scenario.github.retarget(scenario.pull, "stage")


def test_another_base_branch_during_the_plan_rolls_prod_back(scenario: Scenario) -> None:
    retarget = stage(scenario)
    deploy = scenario.start()
    retarget()
    scenario.resume()
    assert deploy.wait() == 1
    assert not scenario.pull.merged
    assert scenario.prod_matches_main
    assert "the base branch is `stage` now. Prod was rolled back" in scenario.comment


def test_a_merge_into_another_branch_rolls_prod_back(scenario: Scenario) -> None:
    scenario.github.when("PUT /pulls/1/merge", stage(scenario))
    assert scenario.deploy().exit_code == 1
    assert scenario.pull.merged
    assert scenario.prod_matches_main
    assert "Not merged into `main`: the pull request was merged into `stage`. Prod was rolled back" in scenario.comment


def test_a_merge_with_a_lost_response_counts_as_merged(scenario: Scenario) -> None:
    def merge_without_response() -> None:
        scenario.github.respond("PUT", f"/repos/{scenario.github.repository}/pulls/1/merge", {"merge_method": "squash"})

    scenario.github.when("PUT /pulls/1/merge", merge_without_response)
    assert scenario.deploy().exit_code == 0
    assert scenario.prod_matches_main
    assert "Deployed and merged" in scenario.comment


def test_a_deploy_after_a_merge_completes_prod(scenario: Scenario) -> None:
    scenario.github.respond("PUT", f"/repos/{scenario.github.repository}/pulls/1/merge", {"merge_method": "squash"})
    assert scenario.deploy(scenario.check_out("again")).exit_code == 0
    assert scenario.prod_matches_main
    assert "Deployed and merged" in scenario.comment


def test_a_merge_before_the_deploy_leaves_prod_unchanged_and_is_reported(scenario: Scenario) -> None:
    scenario.github.respond("PUT", f"/repos/{scenario.github.repository}/pulls/1/merge", {"merge_method": "squash"})
    assert scenario.deploy().exit_code == 1
    assert scenario.calls == []
    assert "Prod is unchanged" in scenario.comment


def test_a_killed_deploy_leaves_its_comment_and_the_lock_until_its_plan_has_ended(scenario: Scenario) -> None:
    deploy = scenario.start()
    deploy.send_signal(signal.SIGKILL)
    deploy.wait()
    assert "**Prod may be ahead of" in scenario.comment
    with pytest.MonkeyPatch.context() as patch:
        for name, value in scenario.environment.items():
            patch.setenv(name, value)
        with prod_lock("a test") as lock:
            assert str(lock).startswith("deploy #1 on "), "its plan still changes prod"
        scenario.resume()
        with prod_lock("a test", wait=30) as lock:
            assert isinstance(lock, Lock)
    assert not scenario.prod_matches_main
    assert scenario.deploy(scenario.check_out("again")).exit_code == 0
    assert scenario.pull.merged
    assert scenario.prod_matches_main
    assert "Deployed and merged" in scenario.comment


def test_the_second_of_two_deploys_is_rejected_with_the_holder_of_the_lock(scenario: Scenario) -> None:
    first = scenario.start()
    result = scenario.deploy(scenario.check_out("second"))
    assert result.exit_code == 1
    assert "prod is locked by" in "".join(scenario.github.comments_on(scenario.pull))
    scenario.resume()
    assert first.wait() == 0
    assert scenario.pull.merged
    assert scenario.prod_matches_main


def test_a_deploy_that_lost_its_lock_neither_merges_nor_changes_prod_again(
    scenario: Scenario, postgres: Server
) -> None:
    deploy = scenario.start()
    postgres_url = postgres.url("postgres", "postgres")
    end_sessions(postgres_url)
    scenario.resume()
    assert deploy.wait() == 1
    assert not scenario.pull.merged
    assert len(scenario.calls) == 1
    assert "The prod lock was lost" in scenario.comment
    assert "Prod may be ahead of" in scenario.comment


def end_sessions(url: str) -> None:
    import psycopg  # noqa: PLC0415

    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^deploy'")


def test_one_process_at_a_time_has_the_lock_and_the_next_learns_its_holder(
    state: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in state.items():
        monkeypatch.setenv(name, value)
    with prod_lock("run") as first, prod_lock("deploy #3") as second:
        assert isinstance(first, Lock)
        first.check()
        assert str(second).startswith("run on ")
        assert f"process {os.getpid()}, since 2" in str(second)
    with prod_lock("deploy #3") as again:
        assert isinstance(again, Lock)


def test_an_unreachable_state_database_is_named_without_its_password(
    state: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (state | {"MESHFLOW_STATE_PORT": "1", "MESHFLOW_STATE_PASSWORD": "emulated"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match=r"SQLMesh's state at .*:1/sqlmesh_") as error, prod_lock("run"):
        pass
    assert "emulated" not in str(error.value)


def test_a_pooler_before_the_state_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with rejecting_pooler() as port:
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "USER": "u", "PASSWORD": "p", "DATABASE": "state"}
        for name, value in settings.items():
            monkeypatch.setenv(f"MESHFLOW_STATE_{name}", value)
        with pytest.raises(Exception, match="Connect to PostgreSQL itself, not to a pooler"), prod_lock("run"):
            pass
