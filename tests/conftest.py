"""Fixtures that all suites share."""

import os

# SQLMesh would fork to load a project, and a fork of a process with DuckDB's and Arrow's threads may die of their
# garbage. Each core has tests of its own anyway. It looks when it is imported.
os.environ["MAX_FORK_WORKERS"] = "1"

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sharing import made_once, make_server, new_server
from sources import Sources
from sqlmesh.core.context import Context
from workspace import Workspace, plan

from meshflow.source.server import Server

LONGEST = (
    "test_operations", "test_ci_run", "test_traffic", "test_loading", "test_lifecycle", "test_ci_report",
    "test_loading_drift", "test_hooks", "test_dialects", "test_ci_budget", "test_reconcile", "test_dashboards",
    "test_project", "test_kills", "test_killed_loads", "test_incremental",
)  # fmt: skip
"""Files whose tests take longest, in that order. test_killed_loads forks: DuckDB's threads mustn't have started."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of all processes of this session, for `made_once`."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def built(project: Path, shared: Path) -> Workspace:
    """The project with prod built from the sample rows. To be cloned."""

    def make(root: Path) -> None:
        with closing(Workspace.copy_of(project, root).context()) as context:
            plan(context, "prod")

    return Workspace(made_once(shared / "built", make))


@pytest.fixture(scope="session")
def warehouse(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project with prod built from the sample rows. Shared: only for tests that read."""
    with closing(built.clone(tmp_path_factory.mktemp("warehouse")).context()) as context:
        yield context


@pytest.fixture(scope="session")
def postgres_template(shared: Path) -> Path:
    """The folder of a PostgreSQL, started and stopped by the code that does so for users. To be copied."""
    return made_once(shared / "postgres", make_server)


@pytest.fixture(scope="session")
def postgres(postgres_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real PostgreSQL."""
    server = new_server(postgres_template, tmp_path_factory.mktemp("postgres"))
    yield server
    server.down()


@pytest.fixture
def source(postgres: Server) -> Sources:
    """The two sources, with empty tables, in a database of the test's own."""
    return Sources.new(postgres)


@pytest.fixture
def benchmarks(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Their folder; they are run in the project's."""
    monkeypatch.chdir(project)
    return project / "benchmarks"
