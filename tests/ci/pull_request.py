"""Fixtures of test_ci_*.py: a pull request with its prod, and a GitHub client for the bot."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from sqlmesh.core.console import get_console, set_console
from workspace import Workspace


@pytest.fixture
def change(built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The unchanged project of pull request 7 with its prod, in a job of GitHub Actions."""
    workspace = built.clone(tmp_path)
    event = {
        "pull_request": {
            "number": 7,
            "head": {"sha": "abc1234" * 6},
            "_links": {"self": {"href": "https://api.example/repos/meshflow/warehouse/pulls/7"}},
        }
    }
    (tmp_path / "event.json").write_text(json.dumps(event))
    for name, file in {"EVENT_PATH": "event.json", "OUTPUT": "output", "STEP_SUMMARY": "summary.md"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", str(tmp_path / file))
    monkeypatch.setenv("MESHFLOW_DATA", str(workspace.data))
    console = get_console()
    yield workspace
    set_console(console)


@pytest.fixture
def client() -> Mock:
    """A GitHub client for the bot: pull request 7, from branch `feature`, without reviews."""
    client = Mock()
    client.get_repo.return_value.get_pull.return_value = SimpleNamespace(
        head=SimpleNamespace(ref="feature"), base=SimpleNamespace(ref="main"), get_reviews=list
    )
    return client
