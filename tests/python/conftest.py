"""Fixtures that several files share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmesh.core.context import Context
from workspace import Workspace, plan


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def warehouse(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project with prod built from the sample rows. Shared: only for tests that read."""
    context = Workspace.copy_of(project, tmp_path_factory.mktemp("warehouse")).context()
    plan(context, "prod")
    yield context
    context.close()
