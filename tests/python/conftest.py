"""Fixtures of this suite."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from applications import new_state
from sqlmesh.core.context import Context
from workspace import Workspace

from meshflow.source.server import Server


@pytest.fixture(scope="session")
def landed_project(built: Workspace, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project on gateway `landed`, with nothing built. Shared: only for tests that read."""
    workspace = built.clone(tmp_path_factory.mktemp("landed_project"), new_state(postgres))
    with closing(workspace.context("landed")) as context:
        yield context
