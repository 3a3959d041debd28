"""Fixtures of the tests against an emulated Snowflake."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest
from applications import Applications
from emulated import Keys, Snowflake

from meshflow.landing.load import Session, land, session
from meshflow.landing.report import Machines
from meshflow.source.server import Server
from meshflow.source.traffic import write_batch

WRITTEN_AT = datetime(2026, 11, 10, 9, 30, tzinfo=UTC)
"""When the applications' rows were written."""


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def snowflake(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowflake]:
    """An account with empty databases, which this process, SQLMesh and the loader in it take for their Snowflake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(keys.authority))
        emulator = Snowflake.start(keys, tmp_path_factory.mktemp("snowflake"))
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        yield emulator
        emulator.stop()


@pytest.fixture(scope="module")
def applications(postgres: Server) -> Applications:
    """The two applications with some hundred rows, a tenth of them faulty: always the same."""
    applications = Applications.new(postgres)
    write(applications, seed=1)
    return applications


def write(applications: Applications, seed: int, sales: int = 300) -> None:
    """New rows and corrections."""
    with psycopg.connect(applications.url) as connection:
        write_batch(connection, np.random.default_rng(seed), sales=sales, dirt=0.1, now=WRITTEN_AT, days=10)


@contextmanager
def opened(applications: Applications, data: Path, at: datetime | None = None) -> Iterator[Session]:
    """The right to load into Snowflake, as if it were `at`."""
    with session(applications.loader_url, "snowflake", data, 0, Machines(), at=at) as held:
        assert held
        yield held


def load(applications: Applications, data: Path, *, at: datetime | None = None, full: bool = False) -> None:
    with opened(applications, data, at) as held:
        assert land(held, Machines(), full_refresh=full)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the loader's working files."""
    return tmp_path_factory.mktemp("data")
