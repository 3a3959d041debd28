"""Fixtures as in tests/python."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.source.server import Server


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real PostgreSQL, started by the code that starts the embedded one for users."""
    server = Server(tmp_path_factory.mktemp("postgres"))
    server.up()
    yield server
    server.down()
