"""Fixtures of this suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from applications import Applications, new_state
from sqlmesh.core.context import Context
from workspace import Workspace, plan

from meshflow.source.server import Server


@pytest.fixture(scope="session")
def warehouse(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project with prod built from the sample rows. Shared: only for tests that read."""
    context = Workspace.copy_of(project, tmp_path_factory.mktemp("warehouse")).context()
    plan(context, "prod")
    yield context
    context.close()


@pytest.fixture(scope="session")
def landed_project(project: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project on gateway `landed`, with nothing built. Shared: only for tests that read."""
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("landed_project"), new_state(postgres))
    context = workspace.context("landed")
    yield context
    context.close()


@pytest.fixture
def source(postgres: Server) -> Applications:
    """The two applications, with empty tables, in a database of the test's own."""
    return Applications.new(postgres)
