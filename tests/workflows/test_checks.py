"""The checks of every pull request, a fork's too: ci.yml, with `make` noting down what it is asked for."""

import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from act import Run
from conftest import Actions
from fake_github import FakeGitHub

WORDS = {
    "dev", "test", "chaos-test", "install-test", "infra-test", "snowflake-test", "ci-test", "browser-test",
    "bench-test", "lint", "catalog",
}  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Path:
    """A folder with a `make` that succeeds but for the word in its file `broken`, and lists its words in `asked`."""
    program = tmp_path / "make"
    program.write_text(
        f"""#!/bin/sh
        echo "$1" >> {tmp_path}/asked
        [ "$1" != catalog ] || install -D /dev/null data/catalog/index.html
        [ "$1" != "$(cat {tmp_path}/broken)" ]
        """
    )
    program.chmod(stat.S_IRWXU)
    (tmp_path / "broken").touch()
    return tmp_path


def checked(actions: Actions, github: FakeGitHub, make: Path, branch: str, fork: str | None = None) -> Run:
    github.push(branch, {"docs/note.md": f"{branch}\n"})
    there = replace(actions, runner=replace(actions.runner, programs=make))
    return there.check(github.open_pull(branch, fork=fork)).wait()


def test_a_fork_has_every_suite_run_without_a_secret(gated: Actions, github: FakeGitHub, make: Path) -> None:
    run = checked(gated, github, make, "checked", fork="stranger/meshflow")
    assert run.jobs == {"lint": "success", "tests": "success", "catalog": "success", "ok": "success"}, run
    words = (make / "asked").read_text().split()
    assert {word for word in words if not word.startswith(".venv/")} == WORDS


@pytest.mark.parametrize("suite", ["lint", "snowflake-test"])
def test_one_suite_that_fails_is_not_ok(gated: Actions, github: FakeGitHub, make: Path, suite: str) -> None:
    (make / "broken").write_text(suite)
    run = checked(gated, github, make, f"broken-{suite}")
    assert run.jobs["ok"] == "failure", run


def test_every_suite_is_a_word_of_make(project: Path) -> None:
    assert set(re.findall(r"^([a-z-]+):", (project / "Makefile").read_text(), re.MULTILINE)) >= WORDS
