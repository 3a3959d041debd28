"""The checks of every pull request, including forks, and of packages: ci.yml and scan.yml, with a stub of `make`."""

import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from act import Run
from conftest import Actions
from fake_github import FakeGitHub

TARGETS = {
    "dev", "test", "chaos-test", "install-test", "infra-test", "snowflake-test", "ci-test", "browser-test",
    "bench-test", "lint", "catalog",
}  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Path:
    """A folder with a stub of `make`: it logs its targets in `calls`, and fails for the target in the file `broken`."""
    program = tmp_path / "make"
    program.write_text(
        f"""#!/bin/sh
        echo "$1" >> {tmp_path}/calls
        [ "$1" != catalog ] || install -D /dev/null data/catalog/index.html
        [ "$1" != scan ] || install -D /dev/null .cache/sbom/base.cdx.json
        [ "$1" != "$(cat {tmp_path}/broken)" ]
        """
    )
    program.chmod(stat.S_IRWXU)
    (tmp_path / "broken").touch()
    return tmp_path


def run_checks(actions: Actions, github: FakeGitHub, make: Path, branch: str, fork: str | None = None) -> Run:
    github.push(branch, {"docs/note.md": f"{branch}\n"})
    stubbed = replace(actions, runner=replace(actions.runner, programs=make))
    return stubbed.check(github.open_pull(branch, fork=fork)).wait()


def test_every_suite_runs_for_a_fork_without_a_secret(offline_actions: Actions, github: FakeGitHub, make: Path) -> None:
    run = run_checks(offline_actions, github, make, "checked", fork="stranger/meshflow")
    assert run.jobs == {"lint": "success", "tests": "success", "catalog": "success", "ok": "success"}, run
    targets = (make / "calls").read_text().split()
    assert {target for target in targets if not target.startswith(".venv/")} == TARGETS


@pytest.mark.parametrize("suite", ["lint", "snowflake-test"])
def test_one_failing_suite_fails_the_check_ok(
    offline_actions: Actions, github: FakeGitHub, make: Path, suite: str
) -> None:
    (make / "broken").write_text(suite)
    run = run_checks(offline_actions, github, make, f"broken-{suite}")
    assert run.jobs["ok"] == "failure", run


def test_every_suite_is_a_target_of_the_makefile(project: Path) -> None:
    assert set(re.findall(r"^([a-z-]+):", (project / "Makefile").read_text(), re.MULTILINE)) >= TARGETS


def test_a_vulnerable_package_opens_an_alert_and_the_list_of_packages_is_kept(
    offline_actions: Actions, github: FakeGitHub, make: Path
) -> None:
    (make / "broken").write_text("scan")
    stubbed = replace(offline_actions, runner=replace(offline_actions.runner, programs=make))
    run = stubbed.cron("scan.yml").wait()
    assert run.jobs == {"scan": "failure", "alert": "success"}, run
    assert "sbom/sbom/base.cdx.json" in run.artifacts
    assert [one.state for one in github.issues.values() if " Scan " in one.title] == ["open"]
