"""`meshflow ci deploy` and its lock: whatever happens, prod and main agree, or the pull request says that they don't.

SQLMesh and its bot are stand-ins that note which tree prod has. The real ones deploy in tests/workflows.
"""

import os
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
from sources import new_state

from meshflow.ci.lock import Lock, prod_lock
from meshflow.cli import main
from meshflow.source.server import Server

# Both find the folder that they plan after --paths, and apply its tree; `hold` lets a test look at the middle of it.
BOT = """#!/bin/sh
echo "bot $SQLMESH__DEFAULT_GATEWAY $*" >> "$STAND_INS/calls"
git -C "$2" rev-parse 'HEAD^{tree}' > "$STAND_INS/prod"
while [ -e "$STAND_INS/hold" ]; do sleep 0.05; done
exit "$(cat "$STAND_INS/bot-status" 2>/dev/null || echo 0)"
"""
SQLMESH = """#!/bin/sh
echo "sqlmesh $*" >> "$STAND_INS/calls"
case "$*" in
*" plan prod "*)
  [ -e "$STAND_INS/plan-fails" ] && exit 1
  git -C "$2" rev-parse 'HEAD^{tree}' > "$STAND_INS/prod" ;;
esac
"""
START = """
import os, sys
from meshflow.cli import main
sys.executable = os.environ["STAND_INS"] + "/python"
main()
"""


class Scene:
    """A repository with an approved pull request, checked out as by deploy.yml, and a prod that was built from main."""

    def __init__(self, github: FakeGitHub, folder: Path, state: dict[str, str]) -> None:
        self.github, self.folder = github, folder
        github.roles = {"ann": "write", "bob": "write"}
        github.push("main", {"README.md": "A warehouse.\n"})
        github.push("feature", {"models/x.sql": "SELECT 1\n"})
        self.pull = self._open("feature")
        self.stand_ins = folder / "bin"
        self.stand_ins.mkdir()
        for name, script in {"sqlmesh_cicd": BOT, "sqlmesh": SQLMESH}.items():
            (self.stand_ins / name).write_text(script)
            (self.stand_ins / name).chmod(stat.S_IRWXU)
        self.environment = {
            **state,
            "STAND_INS": str(self.stand_ins),
        }
        self.job = self.check_out("job")
        (self.stand_ins / "prod").write_text(github.tree("main"))

    def _open(self, branch: str) -> PullRequest:
        pull = self.github.open_pull(branch)
        self.github.check(pull.head_sha, "ok")
        self.github.check(pull.head_sha, "PR environment", external_id=pull.base_sha)
        self.github.review(pull, "bob", "APPROVED")
        return pull

    def check_out(self, name: str) -> Job:
        """A job of deploy.yml for the pull request as it is now, in a folder of its own."""
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
            patch.setattr(sys, "executable", str(self.stand_ins / "python"))  # tools are taken from beside it
            result = CliRunner(env=self.environment | job.environment).invoke(main, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def start(self, job: Job | None = None) -> subprocess.Popen[bytes]:
        """Deploy in a process of its own, which stays in the middle of the bot's work until `go`."""
        (self.stand_ins / "hold").touch()
        job = job or self.job
        process = subprocess.Popen(
            [sys.executable, "-c", START, *self.command()],
            env=os.environ | self.environment | job.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=job.folder / "workspace",
        )
        self.wait_for(lambda: any(call.startswith("bot") for call in self.calls))
        return process

    def go(self) -> None:
        (self.stand_ins / "hold").unlink()

    @staticmethod
    def wait_for(condition: Callable[[], bool]) -> None:
        for _ in range(600):
            if condition():
                return
            time.sleep(0.1)
        raise AssertionError("it never happened")

    @property
    def calls(self) -> list[str]:
        log = self.stand_ins / "calls"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def prod(self) -> str:
        """The tree that prod has."""
        return (self.stand_ins / "prod").read_text().strip()

    @property
    def agree(self) -> bool:
        return self.prod == self.github.tree("main")

    @property
    def comment(self) -> str:
        """What the pull request says, in its one comment."""
        (comment,) = self.github.comments_on(self.pull)
        return comment


@pytest.fixture(scope="module")
def state(postgres: Server) -> dict[str, str]:
    return new_state(postgres)


@pytest.fixture
def scene(tmp_path: Path, state: dict[str, str]) -> Iterator[Scene]:
    with FakeGitHub(tmp_path / "origin.git") as github:
        yield Scene(github, tmp_path, state)
    assert not github.faults


def test_prod_is_updated_the_pull_request_merged_and_its_environment_given_up(scene: Scene) -> None:
    before = scene.github.sha("main")
    result = scene.deploy()
    assert result.exit_code == 0, result.output
    assert scene.pull.merged
    assert scene.agree
    assert scene.github.git("log", "-1", "--format=%P", "main") == before, "it is squashed"
    assert scene.calls == [
        "bot loaded --paths change github deploy-production",
        "sqlmesh --gateway live invalidate pr_1",
    ]
    assert "Deployed and merged" in scene.comment
    assert "the-token-of-the-job" not in result.output


def rejected(scene: Scene, result: Result, why: str) -> None:
    """Nothing was affected, and the pull request says why."""
    assert result.exit_code == 1, result.output
    assert scene.calls == []
    assert not scene.pull.merged
    assert why in scene.comment


def test_a_head_that_moved_after_the_gate_is_rejected(scene: Scene) -> None:
    sha = scene.sha
    scene.github.push("feature", {"models/x.sql": "SELECT 2\n"})
    rejected(scene, scene.deploy(sha=sha), f"and not `{sha}` any more")


def test_a_main_that_moved_after_the_gate_is_rejected(scene: Scene) -> None:
    scene.github.push("main", {"models/y.sql": "SELECT 2\n"})
    rejected(scene, scene.deploy(), "has moved on since")


def test_an_approval_taken_back_after_the_gate_is_rejected(scene: Scene) -> None:
    scene.pull.reviews[0].state = "DISMISSED"
    rejected(scene, scene.deploy(), "approved by 0 of 1")


def test_what_branch_protection_would_reject_is_rejected_before(scene: Scene) -> None:
    scene.pull.blocked = True
    rejected(scene, scene.deploy(), "would reject the merge")


def test_a_checkout_that_was_changed_is_rejected(scene: Scene) -> None:
    (scene.job.folder / "workspace" / "change" / "models" / "x.sql").write_text("SELECT 666\n")
    result = scene.deploy()
    assert result.exit_code == 1
    assert "is not as it was checked out" in result.output
    assert scene.calls == []


def test_a_failing_plan_is_taken_back_and_not_merged(scene: Scene) -> None:
    (scene.stand_ins / "bot-status").write_text("1")
    assert scene.deploy().exit_code == 1
    assert not scene.pull.merged
    assert scene.agree
    assert "the bot ended with status 1. Prod is back at" in scene.comment


def test_prod_is_taken_back_when_github_rejects_the_merge(scene: Scene) -> None:
    scene.github.merge_rejections.append("At least 1 approving review is required by reviewers with write access.")
    assert scene.deploy().exit_code == 1
    assert not scene.pull.merged
    assert scene.agree
    assert "GitHub rejected to merge" in scene.comment
    assert "Prod is back at" in scene.comment
    assert scene.calls[-1].startswith("sqlmesh --paths . --gateway live plan prod --auto-apply --no-prompts")
    # And the next attempt succeeds.
    assert scene.deploy(scene.check_out("again")).exit_code == 0
    assert scene.pull.merged
    assert scene.agree


def test_what_is_pushed_during_the_deploy_is_not_merged(scene: Scene) -> None:
    sha = scene.sha
    scene.github.when("PUT /pulls/1/merge", lambda: scene.github.push("feature", {"models/x.sql": "SELECT evil\n"}))
    assert scene.deploy(sha=sha).exit_code == 1
    assert not scene.pull.merged
    assert scene.agree
    assert "Prod is back at" in scene.comment


def test_a_prod_that_can_not_be_taken_back_is_said_to_be_ahead(scene: Scene) -> None:
    scene.github.merge_rejections.append("no")
    (scene.stand_ins / "plan-fails").touch()
    assert scene.deploy().exit_code == 1
    assert "Prod may be ahead of" in scene.comment


def test_a_main_that_moved_during_the_plan_is_not_merged_into(scene: Scene) -> None:
    deploy = scene.start()
    scene.github.push("main", {"models/y.sql": "SELECT 2\n"})
    scene.go()
    assert deploy.wait() == 1
    assert not scene.pull.merged
    assert scene.prod == scene.github.tree("main^")
    assert "has moved on meanwhile" in scene.comment


def test_a_main_that_moved_at_the_moment_of_the_merge_is_told(scene: Scene) -> None:
    scene.github.when("PUT /pulls/1/merge", lambda: scene.github.push("main", {"models/y.sql": "SELECT 2\n"}))
    assert scene.deploy().exit_code == 1
    assert scene.pull.merged
    assert not scene.agree
    assert "is other than prod" in scene.comment


def test_a_merge_whose_answer_was_lost_counts(scene: Scene) -> None:
    def merge_unheard() -> None:
        scene.github.answer("PUT", f"/repos/{scene.github.repository}/pulls/1/merge", {"merge_method": "squash"})

    scene.github.when("PUT /pulls/1/merge", merge_unheard)
    assert scene.deploy().exit_code == 0
    assert scene.agree
    assert "Deployed and merged" in scene.comment


def test_running_again_after_a_merge_finishes_what_is_left(scene: Scene) -> None:
    scene.github.answer("PUT", f"/repos/{scene.github.repository}/pulls/1/merge", {"merge_method": "squash"})
    assert scene.deploy(scene.check_out("again")).exit_code == 0
    assert scene.agree
    assert "Deployed and merged" in scene.comment


def test_a_merge_that_came_before_leaves_prod_alone_and_says_so(scene: Scene) -> None:
    scene.github.answer("PUT", f"/repos/{scene.github.repository}/pulls/1/merge", {"merge_method": "squash"})
    assert scene.deploy().exit_code == 1
    assert scene.calls == []
    assert "prod stays as it is" in scene.comment


def test_a_killed_deploy_has_said_so_and_keeps_the_lock_until_its_plan_has_ended(scene: Scene) -> None:
    deploy = scene.start()
    deploy.send_signal(signal.SIGKILL)
    deploy.wait()
    assert "**prod may be ahead of" in scene.comment
    with pytest.MonkeyPatch.context() as patch:
        for name, value in scene.environment.items():
            patch.setenv(name, value)
        with prod_lock("a test") as lock:
            assert str(lock).startswith("deploy #1 on "), "the plan that it started still changes prod"
        scene.go()
        with prod_lock("a test", wait=30) as lock:
            assert isinstance(lock, Lock)
    assert not scene.agree
    assert scene.deploy(scene.check_out("again")).exit_code == 0
    assert scene.pull.merged
    assert scene.agree
    assert "Deployed and merged" in scene.comment


def test_the_second_of_two_deploys_is_rejected_and_told_by_whom(scene: Scene) -> None:
    first = scene.start()
    result = scene.deploy(scene.check_out("second"))
    assert result.exit_code == 1
    assert "prod is locked by" in "".join(scene.github.comments_on(scene.pull))
    scene.go()
    assert first.wait() == 0
    assert scene.pull.merged
    assert scene.agree


def test_a_deploy_that_lost_its_lock_neither_merges_nor_touches_prod_again(scene: Scene, postgres: Server) -> None:
    deploy = scene.start()
    postgres_url = postgres.url("postgres", "postgres")
    end_sessions(postgres_url)
    scene.go()
    assert deploy.wait() == 1
    assert not scene.pull.merged
    assert [call.split()[0] for call in scene.calls] == ["bot"]
    assert "The&#32;lock&#32;on&#32;prod&#32;is&#32;lost" in scene.comment
    assert "Prod may be ahead of" in scene.comment


def end_sessions(url: str) -> None:
    import psycopg  # noqa: PLC0415

    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^deploy'")


def test_a_lock_is_for_one_names_its_holder_and_is_free_afterwards(
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


def test_a_state_that_can_not_be_reached_is_named_without_its_password(
    state: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (state | {"MESHFLOW_STATE_PORT": "1", "MESHFLOW_STATE_PASSWORD": "emulated"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match=r"SQLMesh's state at .*:1/sqlmesh_") as error, prod_lock("run"):
        pass
    assert "emulated" not in str(error.value)
