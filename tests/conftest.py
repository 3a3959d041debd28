"""Fixtures that all suites share."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from meshflow.source.server import Server

# SQLMesh would fork to load a project, and a fork of a process with DuckDB's and Arrow's threads may die of their
# garbage. Each core has tests of its own anyway. It looks when it is imported.
os.environ["MAX_FORK_WORKERS"] = "1"


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real PostgreSQL, started by the code that starts the embedded one for users."""
    server = Server(tmp_path_factory.mktemp("postgres"))
    server.up()
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        # A test's server needn't survive, and stopping it would take a minute.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.down()
