"""What the project promises about itself: its README, its locks, its commands."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from workspace import Workspace, plan

from meshflow.cli import main

FILE = re.compile(r"[Ww]rite `(?P<path>[\w./]+)`[^\n]*\n\n```\w+\n(?P<text>.*?)```", re.DOTALL)


def test_the_model_that_the_readme_adds_passes_every_rule_and_its_test(project: Path, tmp_path: Path) -> None:
    workspace = Workspace.copy_of(project, tmp_path)
    files = {
        match["path"]: match["text"] for match in FILE.finditer((project / "README.md").read_text(encoding="utf-8"))
    }
    assert [Path(path).suffix for path in files] == [".sql", ".yaml"]
    for path, text in files.items():
        (workspace.path / path).write_text(text, encoding="utf-8")

    context = workspace.context()
    context.lint_models()
    result = context.test(tests=[str(workspace.path / path) for path in files if path.endswith(".yaml")])
    assert result.testsRun == 1
    assert result.wasSuccessful()


def test_the_map_of_models_names_every_table(project: Path) -> None:
    page = (project / "models/README.md").read_text(encoding="utf-8")
    for file in (project / "models").rglob("*.sql"):
        shorter = {
            file.stem[index:] for index in range(len(file.stem)) if file.stem[index] == "_"
        }  # `__courses`, `_by_state`
        forms = {file.stem, f".{file.stem}", f"raw.{file.parent.name}.{file.stem}", *shorter}
        assert any(f"`{form}`" in page for form in forms), f"models/README.md doesn't name {file.stem}"


@pytest.mark.parametrize("name", ["base", "dashboards", "dev", "landing", "snowflake", "ui"])
def test_locks_are_hashed_and_name_no_index(project: Path, name: str) -> None:
    lock = (project / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    requirements = re.findall(r"^[\w.-]+(?:\[[\w,]+\])?==", lock, re.MULTILINE)
    assert len(requirements) > 50
    assert len(re.findall(r"^[\w.-]+==.*\\\n    --hash=sha256:", lock, re.MULTILINE)) == len(requirements)
    assert "://" not in lock
    assert "--index" not in lock
    assert "snowpark" not in lock


def test_questions_are_answered_from_the_environment_that_is_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.copy_of(project, tmp_path)
    monkeypatch.chdir(workspace.path)
    context = workspace.context()
    plan(context, "dev")
    context.close()

    asked = CliRunner(env=workspace.environment).invoke(main, ["ask", "dev"], catch_exceptions=False)
    assert asked.exit_code == 0
    assert asked.output.count("FROM ") == 3
    assert "retail__dev.rpt_net_revenue_by_state" in asked.output
    assert "Yet to Start" in asked.output

    unknown = CliRunner(env=workspace.environment).invoke(main, ["ask", "nope"])
    assert unknown.exit_code == 1
    assert "There is no environment 'nope'" in unknown.output
    assert "dev" in unknown.output
