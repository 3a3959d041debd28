"""The check of a new account runs to its end against the emulator, drops what it created, and reports no secret."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from emulated import Snowflake
from sources import SourceDatabase, new_state
from workspace import Workspace

from meshflow.snowflake_check import CHECKS, DATABASE, ENVIRONMENT, PREPARATION, STEPS, commands, main, readiness
from meshflow.source.server import Server

PAGE = Path(__file__).parents[2] / "docs/snowflake-readiness.md"


@pytest.fixture
def account(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> Snowflake:
    """The emulated account, with the login of an administrator for the check."""
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_CHECK_USER", "TRANSFORMER")
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_CHECK_ROLE", "SNOWDDL_ADMIN")
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_CHECK_PRIVATE_KEY", snowflake.keys.private("TRANSFORMER"))
    return snowflake


def check(file: Path) -> Result:
    return CliRunner().invoke(main, ["emulated", "--emulated", "--report", str(file)])


def outcomes(report: str) -> dict[str, str]:
    """The result of each check, by its name."""
    return dict(re.findall(r"^\| (.*?) \|.* \| (as expected|different|failed|skipped) \| .*\|$", report, re.MULTILINE))


def databases(snowflake: Snowflake) -> set[str]:
    return {row[1] for row in snowflake.query("SHOW DATABASES")}


def test_the_check_runs_to_its_end_and_names_what_an_emulator_cannot_answer(account: Snowflake, tmp_path: Path) -> None:
    before = databases(account)
    result = check(tmp_path / "report.md")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "report.md").read_text()
    steps = {step.name: "skipped" for step in STEPS}
    assert outcomes(text) == {one.name: "skipped" if one.not_emulated else "as expected" for one in CHECKS} | steps
    assert text.count("the emulator can't answer: ") == sum(bool(one.not_emulated) for one in CHECKS)
    assert databases(account) == before
    assert f"Dropped the database {DATABASE}" in result.output
    secret = account.keys.private("TRANSFORMER").splitlines()[1]
    assert secret not in text + result.output


def test_a_different_answer_fails_and_is_in_the_report(account: Snowflake, tmp_path: Path) -> None:
    account.fail({"statement": "CLONE", "code": "000606", "message": "No active warehouse for 'Ada Lovelace'"})
    before = databases(account)
    result = check(tmp_path / "report.md")
    assert result.exit_code == 1
    assert f"Error: 1 of {len(CHECKS) + len(STEPS)} checks differ from what is expected" in result.output
    text = (tmp_path / "report.md").read_text()
    assert re.search(
        r"^\| Changed history in a pull request .* \| error 606, query \S* \| failed \|", text, re.MULTILINE
    )
    assert "Ada" not in text + result.output
    assert databases(account) == before


def test_the_database_is_dropped_if_its_tables_cannot_be_created(account: Snowflake, tmp_path: Path) -> None:
    account.fail({"statement": "GRANT USAGE", "code": "003001", "message": "Insufficient privileges"})
    before = databases(account)
    result = check(tmp_path / "report.md")
    assert result.exit_code == 1
    assert databases(account) == before
    assert f"Dropped the database {DATABASE}" in result.output


def test_a_database_that_exists_is_kept(account: Snowflake, tmp_path: Path) -> None:
    account.query(f"CREATE DATABASE {DATABASE}")
    result = check(tmp_path / "report.md")
    assert result.exit_code == 1
    assert DATABASE in databases(account)
    assert "Dropped" not in result.output
    account.query(f"DROP DATABASE {DATABASE}")


def test_the_commands_that_people_run_load_plan_and_remove_an_environment(
    project: Path,
    postgres: Server,
    sources: SourceDatabase,
    account: Snowflake,
    tmp_path: Path,
) -> None:
    workspace = Workspace.copy_of(project, tmp_path / "workspace", new_state(postgres))
    file = tmp_path / "report.md"
    command = ["-m", "meshflow.snowflake_check", "emulated", "--emulated", "--pipeline", "--report", str(file)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=workspace.path,
        env=os.environ | workspace.environment | sources.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    text = file.read_text()
    found = {step.name: outcomes(text)[step.name] for step in STEPS}
    assert found == {step.name: "as expected" for step in STEPS}, done.stdout + done.stderr
    assert done.returncode == 0
    assert f"EDTECH__{ENVIRONMENT.upper()}" in " ".join(account.statements())
    schemas = {row[0] for row in account.query("SELECT SCHEMA_NAME FROM ANALYTICS.INFORMATION_SCHEMA.SCHEMATA")}
    assert "EDTECH" in schemas
    assert not [name for name in schemas if name.endswith(ENVIRONMENT.upper())]
    [(email, *_)] = sources.execute("SELECT email FROM edtech.students WHERE email IS NOT NULL LIMIT 1")
    assert email not in text


def test_the_mask_that_is_checked_has_the_readers_of_the_models(project: Path) -> None:
    [readers] = re.findall(r"^READERS = \((.*)\)$", (project / "macros/privacy.py").read_text(), re.MULTILINE)
    checked = [role for sql in PREPARATION for role in re.findall(r"IS_ROLE_IN_SESSION\('(\w+)'\)", sql)]
    assert checked == re.findall(r'"(\w+)"', readers)


def test_the_page_and_the_command_have_the_same_list() -> None:
    assert readiness() in PAGE.read_text()
    assert commands() in PAGE.read_text()
    assert len({one.name for one in CHECKS}) == len(CHECKS)
