"""`--json` prints what docs/json-output.md documents."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from loads import LoadPipeline, run_meshflow
from workspace import Workspace

from meshflow.cli import main

pytest_plugins = ("load_fixtures",)


def shape(value: Any) -> Any:
    """`value` with the names of its fields only. Of a list of objects, the first one's."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [shape(value[0])]
    return None


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return (project / "docs" / "json-output.md").read_text(encoding="utf-8")


def documented(page: str, command: str) -> Any:
    found = re.search(rf"^`meshflow {command}`.*?```json\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    assert found, command
    return shape(json.loads(found[1]))


@pytest.mark.parametrize("command", ["freshness", "audit", "examples"])
def test_a_report_on_the_warehouse_is_as_documented(
    built: Workspace, page: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    workspace = built.clone(tmp_path_factory.mktemp(command))
    monkeypatch.chdir(workspace.path)
    arguments = [] if command == "examples" else ["--gateway", "local"]
    result = CliRunner(env=workspace.environment).invoke(main, [command, "--json", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    assert shape(json.loads(result.stdout)) == documented(page, command)


def test_a_report_on_the_source_is_as_documented(loaded_pipeline: LoadPipeline, page: str) -> None:
    for command in ("source status", "source check"):
        result = run_meshflow(loaded_pipeline, *command.split(), "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert shape(json.loads(result.stdout)) == documented(page, command)


def test_events_of_a_load_are_as_documented(loaded_pipeline: LoadPipeline, page: str) -> None:
    rows = re.findall(r"^\| (`.+?`)(?:: .*?)? \| (.+) \|$", page, re.MULTILINE)
    fields = {name: re.findall(r"`(\w+)`", text) for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    loaded = run_meshflow(loaded_pipeline, "load", "--json")
    reconciled = run_meshflow(loaded_pipeline, "reconcile", "--json")
    events = [json.loads(line) for line in (loaded.stdout + reconciled.stdout).splitlines()]
    assert {one["event"] for one in events} == {"started", "loaded", "reconciled"}
    for one in events:
        assert one.keys() == {"event", "at", *fields[one["event"]]}
