"""Invalid configuration: a clear error, exit status 1, and nothing built. Invalid seeds: test_linter.py."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlmesh.cli.main import cli
from workspace import Workspace

MODEL = "models/edtech/dim_student.sql"
COLUMN = "enrollment_date::DATE AS enrollment_date"


@pytest.fixture
def workspace(built: Workspace, tmp_path: Path) -> Workspace:
    return built.clone(tmp_path, data=False)


def plan_fails(workspace: Workspace, *options: str) -> str:
    """The output of a failing `sqlmesh OPTIONS plan dev`: no traceback, and nothing is built."""
    result = CliRunner(env=workspace.environment).invoke(
        cli, ["--paths", str(workspace.path), *options, "plan", "dev", "--auto-apply", "--skip-tests"]
    )
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not any((workspace.root / "data").iterdir()), "something was built"
    return " ".join(result.output.split())


def test_the_error_names_an_unknown_gateway(workspace: Workspace) -> None:
    assert "Missing gateway with name 'nope'" in plan_fails(workspace, "--gateway", "nope")


def test_the_error_names_an_unknown_setting(workspace: Workspace) -> None:
    workspace.edit("config.yaml", "default_gateway:", "default_gatewy:")
    output = plan_fails(workspace)
    assert "Invalid field 'default_gatewy'" in output
    assert "config.yaml" in output


def test_the_error_names_a_missing_variable_and_its_model(workspace: Workspace) -> None:
    workspace.edit(MODEL, COLUMN, "@cut_off::DATE AS enrollment_date")
    output = plan_fails(workspace)
    assert "Macro variable 'cut_off' is undefined" in output
    assert MODEL in output


def test_the_error_names_an_invalid_as_of_date(workspace: Workspace) -> None:
    workspace.edit("config.yaml", "as_of_date: '2026-11-01'", "as_of_date: soon")
    assert "variable as_of_date: 'soon' is not a date like 2026-11-01" in plan_fails(workspace)


def test_the_error_names_a_missing_column_and_its_model(workspace: Workspace) -> None:
    workspace.edit(MODEL, COLUMN, "enrolment_date::DATE AS enrollment_date")
    output = plan_fails(workspace)
    assert "ENROLMENT_DATE" in output
    assert "DIM_STUDENT" in output


def test_the_error_names_a_missing_data_folder(workspace: Workspace) -> None:
    (workspace.root / "data").rename(workspace.root / "elsewhere")
    result = CliRunner(env=workspace.environment).invoke(cli, ["--paths", str(workspace.path), "plan", "dev"])
    assert result.exit_code == 1
    assert f"There is no folder {workspace.root}/data: create it, or set MESHFLOW_DATA" in result.output
    assert "Traceback" not in result.output
