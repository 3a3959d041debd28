"""Fixtures of this suite."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sources import new_state
from sqlmesh.core.context import Context
from workspace import Workspace

from meshflow.source.server import Server


@pytest.fixture(scope="session")
def live_project(built: Workspace, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project on gateway `live`, with nothing built. Shared, so tests must not change it."""
    workspace = built.clone(tmp_path_factory.mktemp("live_project"), new_state(postgres))
    with closing(workspace.context("live")) as context:
        yield context
