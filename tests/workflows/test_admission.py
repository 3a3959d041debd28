"""Which changes wait for a reader: pr-environment.yml, with the tables that the functions of admission are tested by.

A run takes 4 s of processor time. So the first change of each kind of file and reason has a pull request of its own.
The others share some, whose comments name each file with its reason.
"""

import pytest
from act import Run, RunningWorkflow
from admission_cases import CODE_FILES, EVERYDAY, HOSTILE
from conftest import Actions
from fake_github import FakeGitHub, PullRequest

from meshflow.ci.admit import MAX_LISTED_FILES
from meshflow.ci.github import code

CASES = [(file.format(name), text, reason) for name, file, text, reason in HOSTILE]
CASES += [(file.format("code"), "import os\n", "is code or configuration") for file in CODE_FILES]
"""File, content and a part of the reason."""

KINDS = [(file, reason) for _, file, _, reason in HOSTILE] + [("", reason) for *_, reason in CASES[len(HOSTILE) :]]
ALONE = [case for number, case in enumerate(CASES) if KINDS.index(KINDS[number]) == number]
OTHERS = [case for case in CASES if case not in ALONE]
TOGETHER = [OTHERS[start : start + MAX_LISTED_FILES] for start in range(0, len(OTHERS), MAX_LISTED_FILES)]

Admissions = dict[str, tuple[PullRequest, Run]]


@pytest.fixture(scope="module")
def alone(offline_actions: Actions) -> Admissions:
    """A pull request and its run for each hostile change, by file. Two run at a time."""
    found = {}
    for start in range(0, len(ALONE), 2):
        pulls = {file: opened(offline_actions.github, {file: text}) for file, text, _ in ALONE[start : start + 2]}
        started = {file: offline_actions.pull(pull) for file, pull in pulls.items()}
        found |= {file: (pull, finished(offline_actions, started[file], pull)) for file, pull in pulls.items()}
    return found


def opened(github: FakeGitHub, files: dict[str, str | bytes]) -> PullRequest:
    branch = f"admission-{len(github.issues)}"
    github.push(branch, files, author="ann")
    return github.open_pull(branch, author="ann")


def finished(actions: Actions, started: RunningWorkflow, pull: PullRequest) -> Run:
    """The run. The pull request is closed, or each deploy of other tests would start its build again."""
    run = actions.finish(started, pull)
    pull.state = "closed"
    return run


@pytest.mark.parametrize(("file", "reason"), [(file, reason) for file, _, reason in ALONE])
def test_a_hostile_change_waits_for_a_reader(alone: Admissions, github: FakeGitHub, file: str, reason: str) -> None:
    pull, run = alone[file]
    assert_held(github, pull, run, {file: reason})


@pytest.mark.parametrize("cases", TOGETHER, ids=[cases[0][0] for cases in TOGETHER])
def test_each_of_many_hostile_files_is_named_with_its_reason(
    offline_actions: Actions, github: FakeGitHub, cases: list[tuple[str, str | bytes, str]]
) -> None:
    pull = opened(github, {file: text for file, text, _ in cases})
    run = finished(offline_actions, offline_actions.pull(pull), pull)
    assert_held(github, pull, run, {file: reason for file, _, reason in cases})


def assert_held(github: FakeGitHub, pull: PullRequest, run: Run, reasons: dict[str, str]) -> None:
    """Nothing was executed, no job loaded the change, and the comment names each file with its reason."""
    assert run.jobs == {"admit": "success"}, run
    assert not list(run.folder.rglob("executed")), "the file that a hostile change creates if it is executed"
    assert github.checks_of(pull.head_sha) == {"Admit": "success", "PR environment": "action_required"}
    [comment] = github.comments_on(pull)
    listed = [line for line in comment.splitlines() if line.startswith("- ")]
    for file, reason in reasons.items():
        assert any(line.startswith(f"- {code(file)} ") and reason in line for line in listed), (file, reason, comment)


def test_no_everyday_change_waits_for_a_reader(offline_actions: Actions, github: FakeGitHub) -> None:
    """One pull request makes them all. Each file counts alone, and a single one would hold it.

    Only the job `admit` runs: together they are no project.
    """
    pull = opened(github, {file.format(name): text for name, file, text in EVERYDAY})
    run = finished(offline_actions, offline_actions.pull(pull, only="admit"), pull)
    assert run.jobs == {"admit": "success"}, run
    assert run.outputs == {"main": pull.base_sha, "sha": pull.head_sha, "documents_only": "false"}
    assert github.comments_on(pull) == []
    assert github.checks_of(pull.head_sha) == {"Admit": "success"}


def test_the_tables_have_the_changes_that_issue_19_requires() -> None:
    assert len(ALONE) > 40
    assert len(EVERYDAY) > 30
    assert {name for name, *_ in HOSTILE} >= {"audit-identifier", "external-audit", "audit-default"}
