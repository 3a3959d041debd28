"""What runs workflows in these tests, tested: nothing that a workflow does wrong may get lost in it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from act import REPOSITORY, Runner, adapted, read
from fake_github import FakeGitHub

WORKFLOWS = sorted(file.name for file in (Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
JOB = "{{runs-on: ubuntu-24.04, permissions: {{}}, {}}}"


@pytest.fixture
def rig(runner: Runner) -> Runner:
    """A runner with two environments, which hold a secret of the same name."""
    return replace(runner, secrets={"ci": {"KEY": "the-key-of-ci"}, "prod": {"KEY": "the-key-of-prod"}}, runs=[])


def workflow(github: FakeGitHub, name: str, jobs: str) -> str:
    """A branch with the workflow test.yml, of these jobs."""
    text = f"name: Test\n\non: [issue_comment, pull_request_target]\npermissions: {{}}\njobs:\n{jobs}"
    branch = f"act-{name}"  # other tests may have a branch of that name
    github.push(branch, {".github/workflows/test.yml": text})
    return branch


def differences(one: Any, other: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Where two documents differ, and what stands there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from differences(one.get(key), other.get(key), (*at, key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for position, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, (*at, position))
    elif one != other:
        yield at, one, other


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_runs_as_it_is_written_but_for_queue_own_actions_and_names_of_secrets(
    project: Path, name: str
) -> None:
    original = read(project / ".github" / "workflows" / name)
    for at, before, after in differences(original, adapted(original, "abc")):
        job = original["jobs"][at[1]]
        environment = job.get("environment", "").replace("-", "_").upper()
        undone = str(after).replace(f"secrets.{at[1].upper()}__TOKEN", "github.token")
        undone = undone.replace(f"secrets.{environment}__", "secrets.").replace(f"{REPOSITORY}/", "$/")
        assert at[2:] == ("concurrency", "queue") or undone.removesuffix("@abc") == before


def test_a_job_gets_the_secrets_of_its_environment_and_the_token_of_its_permissions(
    rig: Runner, github: FakeGitHub
) -> None:
    step = "steps: [{env: {KEY: '${{ secrets.KEY }}', T: '${{ github.token }}'}, run: 'echo \"$GITHUB_JOB:$KEY:$T\"'}]"
    branch = workflow(
        github,
        "secrets",
        f"  inside: {JOB.format('environment: prod, ' + step)}\n  outside: {JOB.format(step)}\n",
    )
    rig = replace(rig, token=lambda permissions: f"token-for-{len(permissions)}")
    run = rig.start("test.yml", "issue_comment", {}, commit=branch).wait()
    assert "inside:the-key-of-prod:token-for-0" in run.log
    assert "outside::token-for-0" in run.log
    assert run.leaked == {"the-key-of-prod", "token-for-0"}


def test_an_action_without_a_stub_is_named(rig: Runner, github: FakeGitHub) -> None:
    branch = workflow(github, "unknown", f"  one: {JOB.format('steps: [{uses: actions/github-script@abc}]')}\n")
    with pytest.raises(AssertionError, match="actions/github-script@abc: there is no stub"):
        rig.start("test.yml", "issue_comment", {}, commit=branch)


@pytest.mark.parametrize(("head", "result"), [("stranger/meshflow", "failure"), (REPOSITORY, "success")])
def test_checkout_rejects_a_fork_where_secrets_are(rig: Runner, github: FakeGitHub, head: str, result: str) -> None:
    step = f"steps: [{{uses: {CHECKOUT}, with: {{ref: main, path: change, persist-credentials: false}}}}]"
    branch = workflow(github, "fork", f"  one: {JOB.format(step)}\n")
    pull = {"head": {"sha": github.sha("main"), "repo": {"full_name": head}}, "base": {"ref": "main", "sha": "abc"}}
    payload = {"number": 1, "pull_request": pull}
    assert rig.start("test.yml", "pull_request_target", payload, commit=branch).wait().jobs == {"one": result}


def test_checkout_leaves_no_token(rig: Runner, github: FakeGitHub) -> None:
    branch = workflow(github, "token", f"  one: {JOB.format(f'steps: [{{uses: {CHECKOUT}, with: {{ref: main}}}}]')}\n")
    run = rig.start("test.yml", "issue_comment", {}, commit=branch).wait()
    assert run.jobs == {"one": "failure"}
    assert "persist-credentials" in run.errors[0]


def test_a_killed_run_leaves_nothing_running(rig: Runner, github: FakeGitHub, tmp_path: Path) -> None:
    steps = f"steps: [{{run: 'touch {tmp_path}/started; sleep 1000; touch {tmp_path}/ended'}}, {{run: echo next}}]"
    branch = workflow(github, "killed", f"  one: {JOB.format(steps)}\n")
    started = rig.start("test.yml", "issue_comment", {}, commit=branch)
    assert started.wait_for((tmp_path / "started").exists)
    run = started.kill()
    assert run.exit_code
    assert run.jobs == {}
    assert not started.processes()


def test_summaries_errors_outputs_and_steps_of_a_run_can_be_asked_for(rig: Runner, github: FakeGitHub) -> None:
    steps = r"""[
      {name: Say, run: "echo '::error::wrong'; echo a=b >> $GITHUB_OUTPUT; echo '# Title' >> $GITHUB_STEP_SUMMARY"},
      {name: Fail, run: exit 3}, {name: Never, run: echo never}]"""
    branch = workflow(
        github, "told", f"  one: {JOB.format(f'steps: {steps}')}\n  two: {JOB.format('needs: one, steps: []')}\n"
    )
    run = rig.start("test.yml", "issue_comment", {}, commit=branch).wait()
    assert run.exit_code
    assert (run.jobs["one"], run.errors, run.outputs, run.summary) == ("failure", ["wrong"], {"a": "b"}, "# Title\n")
    assert run.steps == {"Say": "success", "Fail": "failure"}
    assert "two" not in run.jobs
