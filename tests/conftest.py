"""Fixtures that all suites share."""

import os

# SQLMesh would fork to load a project. A fork of a process that runs DuckDB's and Arrow's threads may crash when it
# collects their garbage. Each core runs tests of its own anyway. SQLMesh reads this variable when it is imported.
os.environ["MAX_FORK_WORKERS"] = "1"

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sharing import build_once, make_server, new_server
from sources import SourceDatabase
from sqlmesh.core.context import Context
from workspace import Workspace, plan

from meshflow.source.server import Server

LONGEST = (
    "test_admission", "test_incidents", "test_operations", "test_freshness", "test_ci_run", "test_traffic",
    "test_loading", "test_lifecycle", "test_ci_report", "test_loading_drift", "test_hooks", "test_dialects",
    "test_ci_budget", "test_reconcile", "test_dashboards", "test_project", "test_kills", "test_histories",
    "test_killed_loads",
)  # fmt: skip
"""Files whose tests take longest, in that order. test_killed_loads forks, so DuckDB's threads mustn't have started."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of this session share, for `build_once`."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def built(project: Path, shared: Path) -> Workspace:
    """The project with prod built from the sample rows. Tests clone it."""

    def make(root: Path) -> None:
        with closing(Workspace.copy_of(project, root).context()) as context:
            plan(context, "prod")

    return Workspace(build_once(shared / "built", make))


@pytest.fixture(scope="session")
def warehouse(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project with prod built from the sample rows. Tests share it, so they only read it."""
    with closing(built.clone(tmp_path_factory.mktemp("warehouse")).context()) as context:
        yield context


@pytest.fixture(scope="session")
def postgres_template(shared: Path) -> Path:
    """The folder of a stopped PostgreSQL server, made by the code that users run. Tests copy it."""
    return build_once(shared / "postgres", make_server)


@pytest.fixture(scope="session")
def postgres(postgres_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real PostgreSQL server, running."""
    server = new_server(postgres_template, tmp_path_factory.mktemp("postgres"))
    yield server
    server.down()


@pytest.fixture
def source(postgres: Server) -> SourceDatabase:
    """The two source systems with empty tables, in a database of the test's own."""
    return SourceDatabase.new(postgres)


@pytest.fixture
def benchmarks(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the benchmarks, which run in the project's root."""
    monkeypatch.chdir(project)
    return project / "benchmarks"
