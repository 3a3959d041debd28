"""The check of a new account runs to its end against the emulator, drops what it created, and reports no secret."""

import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from emulated import Snowflake
from sources import SourceDatabase, new_state
from workspace import Workspace

from meshflow.snowflake_check import (
    CHECKS,
    DATABASE,
    ENVIRONMENT,
    GRANTS,
    MASKS,
    PREPARATION,
    STEPS,
    commands,
    main,
    readiness,
)
from meshflow.source.server import Server

PIPELINE = [one.name for one in (*STEPS, *GRANTS, *MASKS)]
PAGE = Path(__file__).parents[2] / "docs/snowflake-readiness.md"


def credentials(snowflake: Snowflake) -> dict[str, str]:
    """The login of an administrator for the check."""
    return {
        "MESHFLOW_SNOWFLAKE_CHECK_USER": "SNOWDDL",
        "MESHFLOW_SNOWFLAKE_CHECK_ROLE": "SNOWDDL_ADMIN",
        "MESHFLOW_SNOWFLAKE_CHECK_PRIVATE_KEY": snowflake.keys.private("SNOWDDL"),
    }


@pytest.fixture
def account(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> Snowflake:
    """The emulated account, with the login for the check."""
    for name, value in credentials(snowflake).items():
        monkeypatch.setenv(name, value)
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
    skipped = dict.fromkeys(PIPELINE, "skipped")
    assert outcomes(text) == {one.name: "skipped" if one.not_emulated else "as expected" for one in CHECKS} | skipped
    assert text.count("the emulator can't answer: ") == sum(bool(one.not_emulated) for one in CHECKS)
    assert databases(account) == before
    assert f"Dropped the database {DATABASE}" in result.output
    secret = account.keys.private("SNOWDDL").splitlines()[1]
    assert secret not in text + result.output


def test_a_different_answer_fails_and_is_in_the_report(account: Snowflake, tmp_path: Path) -> None:
    account.fail({"statement": "CLONE", "code": "000606", "message": "No active warehouse for 'Ada Lovelace'"})
    before = databases(account)
    result = check(tmp_path / "report.md")
    assert result.exit_code == 1
    assert f"Error: 1 of {len(CHECKS) + len(PIPELINE)} checks differ from what is expected" in result.output
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


@pytest.fixture(scope="module")
def piped(
    project: Path,
    postgres: Server,
    sources: SourceDatabase,
    snowflake: Snowflake,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[int, str, str]:
    """Exit status, output and report of a check with the pipeline."""
    folder = tmp_path_factory.mktemp("pipeline")
    workspace, file = Workspace.copy_of(project, folder, new_state(postgres)), folder / "report.md"
    command = ["-m", "meshflow.snowflake_check", "emulated", "--emulated", "--pipeline", "--report", str(file)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=workspace.path,
        env=os.environ | workspace.environment | sources.environment | credentials(snowflake),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, file.read_text()


def test_the_pipeline_loads_plans_promotes_and_removes_and_its_roles_see_and_may_do_no_more(
    piped: tuple[int, str, str], sources: SourceDatabase
) -> None:
    status, output, text = piped
    found = outcomes(text)
    assert {name: found[name] for name in PIPELINE} == dict.fromkeys(PIPELINE, "as expected"), output
    assert status == 0
    [(email, *_)] = sources.execute("SELECT email FROM edtech.students WHERE email IS NOT NULL LIMIT 1")
    assert email not in text


def test_prod_reads_what_ci_built_until_the_promotion_is_reversed(
    piped: tuple[int, str, str], snowflake: Snowflake
) -> None:
    assert piped[0] == 0
    entries = [one for one in snowflake.entries() if one["user"] == "TRANSFORMER"]
    ours = re.compile(r'CREATE OR REPLACE VIEW "ANALYTICS"\."SQLMESH_OPS"\."(OPS__TABLE_FRESHNESS__\d+)"')
    by_ci = {one[1] for entry in entries if entry["role"] == "CI__U_ROLE" and (one := ours.search(entry["statement"]))}
    prod = re.compile(r'CREATE OR REPLACE VIEW "ANALYTICS"\."OPS"\."TABLE_FRESHNESS" .*"(OPS__TABLE_FRESHNESS__\d+)"')
    shown = [one[1] for entry in entries if (one := prod.search(entry["statement"]))]
    first, promoted, reversed_ = (name for name, _ in groupby(shown))
    assert by_ci == {promoted}
    assert first == reversed_ != promoted
    schemas = {row[0] for row in snowflake.query("SELECT SCHEMA_NAME FROM ANALYTICS.INFORMATION_SCHEMA.SCHEMATA")}
    assert "EDTECH" in schemas
    assert f"EDTECH__{ENVIRONMENT.upper()}" in " ".join(entry["statement"] for entry in entries)
    assert not [name for name in schemas if name.endswith(ENVIRONMENT.upper())]


def test_the_mask_that_is_checked_has_the_readers_of_the_models(project: Path) -> None:
    [readers] = re.findall(r"^READERS = \((.*)\)$", (project / "macros/privacy.py").read_text(), re.MULTILINE)
    checked = [role for sql in PREPARATION for role in re.findall(r"IS_ROLE_IN_SESSION\('(\w+)'\)", sql)]
    assert checked == re.findall(r'"(\w+)"', readers)


def test_the_page_and_the_command_have_the_same_list() -> None:
    assert readiness() in PAGE.read_text()
    assert commands() in PAGE.read_text()
    assert readiness((*GRANTS, *MASKS)) in PAGE.read_text()
    names = [one.name for one in CHECKS] + PIPELINE
    assert len(set(names)) == len(names)
