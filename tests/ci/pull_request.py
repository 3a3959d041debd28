"""A fixture of tests/ci: a pull request with its prod."""

from pathlib import Path

import pytest
from workspace import Workspace


@pytest.fixture
def change(built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The unchanged project of a pull request with its prod."""
    workspace = built.clone(tmp_path)
    monkeypatch.setenv("MESHFLOW_DATA", str(workspace.data))
    return workspace
