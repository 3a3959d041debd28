"""A row's value in an error appears in no output of a command of prod, and in its log.

The rows of the sample have e-mail addresses. On Snowflake, in jobs: tests/workflows/test_run.py. Loads:
tests/python/test_loading_failures.py.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from loads import MESHFLOW
from workspace import Workspace

from meshflow.failures import LOG

STUDENT = "models/pii/student.sql"
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+")


@pytest.fixture(scope="module")
def workspace(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose prod can't be audited, because the view `pii.student` casts addresses to numbers."""
    workspace = built.clone(tmp_path_factory.mktemp("canary"))
    context = workspace.context()
    view = context.get_snapshot("pii.student", raise_if_missing=True).table_name()
    query = context.render("pii.student").sql("duckdb")
    context.engine_adapter.cursor.execute(
        f"CREATE OR REPLACE VIEW {view} AS SELECT * REPLACE (student_id + email::INT AS student_id) FROM ({query})"
    )
    context.close()
    return workspace


@pytest.mark.parametrize("command", ["audit", "ci apply", "ci run"])
def test_an_address_in_an_error_is_only_in_the_log(command: str, workspace: Workspace, tmp_path: Path) -> None:
    summary, log = tmp_path / "summary.md", workspace.path / LOG
    log.unlink(missing_ok=True)
    if command != "audit":
        text = (
            (workspace.path / STUDENT)
            .read_text()
            .replace("  student_id::BIGINT", "  (student_id + email::INT)::BIGINT")
        )
        (workspace.path / STUDENT).write_text(text)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHFLOW_")}
    job = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run(
        [MESHFLOW, *command.split(), "--gateway", "local"],
        cwd=workspace.path, env=inherited | workspace.environment | job, capture_output=True, text=True, check=False,
    )  # fmt: skip
    printed = done.stdout + done.stderr + (summary.read_text() if summary.exists() else "")
    assert done.returncode == 1, printed
    assert "ConversionException" in printed
    assert "Full text: artifact `errors` of this run, encrypted" in printed
    assert not ADDRESS.search(printed)
    assert ADDRESS.search(log.read_text())
