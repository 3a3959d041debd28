"""Fixtures of the tests against an emulated Snowflake."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest
from emulated import Keys, Snowflake
from sources import SourceDatabase, new_state
from workspace import Workspace, plan

from meshflow.loading.load import Session, load_tables, session
from meshflow.loading.reconcile import reconcile_all
from meshflow.loading.report import JsonReporter
from meshflow.source.server import Server
from meshflow.source.traffic import write_batch

WRITTEN_AT = datetime(2026, 11, 10, 9, 30, tzinfo=UTC)
"""When the sources' rows were written."""


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def snowflake(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowflake]:
    """An emulated account with empty databases. SQLMesh and the loader in this process use it as their Snowflake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(keys.authority))
        emulator = Snowflake.start(keys, tmp_path_factory.mktemp("snowflake"))
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        yield emulator
        emulator.stop()


@pytest.fixture(scope="module")
def sources(postgres: Server) -> SourceDatabase:
    """The two source systems with a few hundred rows, a tenth of them faulty. The rows are always the same."""
    sources = SourceDatabase.new(postgres)
    write(sources, seed=1)
    return sources


def write(sources: SourceDatabase, seed: int, sales: int = 300) -> None:
    """Write new rows and corrections to the sources."""
    with psycopg.connect(sources.url) as connection:
        write_batch(connection, np.random.default_rng(seed), sales=sales, fault_rate=0.1, now=WRITTEN_AT, days=10)


@contextmanager
def open_session(sources: SourceDatabase, data: Path, at: datetime | None = None) -> Iterator[Session]:
    """A session that loads into Snowflake, as if it were `at`."""
    with session(sources.loader_url, "snowflake", data, 0, JsonReporter(), at=at) as opened:
        assert opened
        yield opened


def load(sources: SourceDatabase, data: Path, *, at: datetime | None = None, full: bool = False) -> None:
    with open_session(sources, data, at) as opened:
        assert load_tables(opened, JsonReporter(), full_refresh=full)


def reconcile(sources: SourceDatabase, data: Path, at: datetime) -> None:
    """Load and compare. Until a warehouse has been reconciled, each plan plans staging.stg_loader__reconciliations."""
    with open_session(sources, data, at) as opened:
        assert reconcile_all(opened, JsonReporter(), repair=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the loader's working files."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def workspace(
    project: Path,
    postgres: Server,
    snowflake: Snowflake,
    sources: SourceDatabase,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workspace:
    """The project in prod on Snowflake, built by TRANSFORMER, with its state in PostgreSQL."""
    reconcile(sources, data, at=datetime.now(UTC))
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))
    plan(workspace.context("snowflake"), "prod")
    return workspace
