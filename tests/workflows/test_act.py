"""Tests of the workflow runner: it must not hide an error of a workflow."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from act import IDENTITY, REPOSITORY, Runner, adapt, read
from fake_github import FakeGitHub

WORKFLOWS = sorted(file.name for file in (Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
JOB = "{{runs-on: ubuntu-24.04, permissions: {{}}, {}}}"


@pytest.fixture
def isolated(runner: Runner) -> Runner:
    """A runner without previous runs, and with two environments that have a secret of the same name."""
    return replace(runner, secrets={"ci": {"KEY": "the-key-of-ci"}, "prod": {"KEY": "the-key-of-prod"}}, runs=[])


def workflow(github: FakeGitHub, name: str, jobs: str) -> str:
    """A new branch whose workflow test.yml has these jobs."""
    text = f"name: Test\n\non: [issue_comment, pull_request_target]\npermissions: {{}}\njobs:\n{jobs}"
    branch = f"act-{name}"  # other tests may use the plain name
    github.push(branch, {".github/workflows/test.yml": text})
    return branch


def differences(one: Any, other: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Paths at which two documents differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from differences(one.get(key), other.get(key), (*at, key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for position, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, (*at, position))
    elif one != other:
        yield at, one, other


@pytest.mark.parametrize("name", WORKFLOWS)
def test_only_queue_own_actions_names_of_secrets_and_identities_are_adapted_in_a_workflow(
    project: Path, name: str
) -> None:
    original = read(project / ".github" / "workflows" / name)
    for at, before, after in differences(original, adapt(original, "abc")):
        job = original["jobs"][at[1]]
        environment = job.get("environment", "").replace("-", "_").upper()
        restored = str(after).replace(f"secrets.{at[1].upper()}__TOKEN", "github.token")
        restored = restored.replace(f"{REPOSITORY}/", "$/")
        for kind in ("secrets", "vars"):
            restored = restored.replace(f"{kind}.{environment}__", f"{kind}.")
        is_identity = at[2] == "env" and before is None and set(at[3:] or after) <= set(IDENTITY)
        assert is_identity or at[2:] == ("concurrency", "queue") or restored.removesuffix("@abc") == before


def test_a_job_gets_the_secrets_of_its_environment_and_the_token_of_its_permissions(
    isolated: Runner, github: FakeGitHub
) -> None:
    step = "steps: [{env: {KEY: '${{ secrets.KEY }}', T: '${{ github.token }}'}, run: 'echo \"$GITHUB_JOB:$KEY:$T\"'}]"
    branch = workflow(
        github,
        "secrets",
        f"  inside: {JOB.format('environment: prod, ' + step)}\n  outside: {JOB.format(step)}\n",
    )
    isolated = replace(isolated, token=lambda permissions: f"token-for-{len(permissions)}")
    run = isolated.start("test.yml", "issue_comment", {}, commit=branch).wait()
    assert "inside:the-key-of-prod:token-for-0" in run.log
    assert "outside::token-for-0" in run.log
    assert run.leaked == {"the-key-of-prod", "token-for-0"}


def test_only_a_job_with_the_permission_gets_an_identity_of_its_environment(
    isolated: Runner, github: FakeGitHub
) -> None:
    step = "steps: [{run: 'echo \"$GITHUB_JOB:$ACTIONS_ID_TOKEN_REQUEST_TOKEN\"'}]"
    job = JOB.format(f"environment: prod, {step}")
    branch = workflow(
        github,
        "identities",
        f"  inside: {job.replace('permissions: {}', 'permissions: {id-token: write}')}\n  outside: {job}\n",
    )
    isolated = replace(isolated, identity=lambda environment: {IDENTITY[1]: f"identity-of-{environment}"})
    run = isolated.start("test.yml", "issue_comment", {}, commit=branch).wait()
    assert "inside:identity-of-prod" in run.log
    assert "outside:\n" in run.log


def test_an_action_without_a_stub_raises_an_error_with_its_name(isolated: Runner, github: FakeGitHub) -> None:
    branch = workflow(github, "unknown", f"  one: {JOB.format('steps: [{uses: actions/github-script@abc}]')}\n")
    with pytest.raises(AssertionError, match="actions/github-script@abc: there is no stub"):
        isolated.start("test.yml", "issue_comment", {}, commit=branch)


@pytest.mark.parametrize(("head", "result"), [("stranger/meshflow", "failure"), (REPOSITORY, "success")])
def test_checkout_rejects_a_fork_in_a_workflow_with_secrets(
    isolated: Runner, github: FakeGitHub, head: str, result: str
) -> None:
    step = f"steps: [{{uses: {CHECKOUT}, with: {{ref: main, path: change, persist-credentials: false}}}}]"
    branch = workflow(github, "fork", f"  one: {JOB.format(step)}\n")
    pull = {"head": {"sha": github.sha("main"), "repo": {"full_name": head}}, "base": {"ref": "main", "sha": "abc"}}
    payload = {"number": 1, "pull_request": pull}
    assert isolated.start("test.yml", "pull_request_target", payload, commit=branch).wait().jobs == {"one": result}


def test_checkout_with_persistent_credentials_fails(isolated: Runner, github: FakeGitHub) -> None:
    branch = workflow(github, "token", f"  one: {JOB.format(f'steps: [{{uses: {CHECKOUT}, with: {{ref: main}}}}]')}\n")
    run = isolated.start("test.yml", "issue_comment", {}, commit=branch).wait()
    assert run.jobs == {"one": "failure"}
    assert "persist-credentials" in run.errors[0]


def test_a_killed_run_leaves_no_process(isolated: Runner, github: FakeGitHub, tmp_path: Path) -> None:
    steps = f"steps: [{{run: 'touch {tmp_path}/started; sleep 1000; touch {tmp_path}/ended'}}, {{run: echo next}}]"
    branch = workflow(github, "killed", f"  one: {JOB.format(steps)}\n")
    started = isolated.start("test.yml", "issue_comment", {}, commit=branch)
    assert started.wait_for((tmp_path / "started").exists)
    run = started.kill()
    assert run.exit_code
    assert run.jobs == {}
    assert not started.processes()


def test_a_run_has_the_summaries_errors_outputs_and_steps_of_its_workflow(isolated: Runner, github: FakeGitHub) -> None:
    steps = r"""[
      {name: Write, run: "echo '::error::wrong'; echo a=b >> $GITHUB_OUTPUT; echo '# Title' >> $GITHUB_STEP_SUMMARY"},
      {name: Fail, run: exit 3}, {name: Never, run: echo never}]"""
    branch = workflow(
        github, "results", f"  one: {JOB.format(f'steps: {steps}')}\n  two: {JOB.format('needs: one, steps: []')}\n"
    )
    run = isolated.start("test.yml", "issue_comment", {}, commit=branch).wait()
    assert run.exit_code
    assert (run.jobs["one"], run.errors, run.outputs, run.summary) == ("failure", ["wrong"], {"a": "b"}, "# Title\n")
    assert run.steps == {"Write": "success", "Fail": "failure"}
    assert "two" not in run.jobs
