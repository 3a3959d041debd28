"""Fixtures of the tests of `meshflow load`: a source without rows, one whose rows have loaded, a server to kill."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from loads import ALL, LoadedSource, backdate, insert
from sharing import new_server
from sources import Sources

from meshflow.source.server import Server


@pytest.fixture
def loading(source: Sources, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedSource:
    """Sources without rows, and no load yet."""
    monkeypatch.chdir(tmp_path)
    return LoadedSource.new(source, project, tmp_path)


@pytest.fixture(scope="module")
def after_a_load(postgres: Server, project: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedSource:
    """Two rows or more in every table, two hours old, and all of them loaded. To be cloned."""
    loading = LoadedSource.new(Sources.new(postgres), project, tmp_path_factory.mktemp("after_a_load"))
    insert(loading.source, "edtech.students", [{"first_name": name} for name in ("Ada", "Grace", "Emmy")])
    insert(loading.source, "edtech.courses", [{"course_name": name, "credits": 5} for name in ("Logic", "Compilers")])
    insert(loading.source, "edtech.enrollments", [{"student_id": 1, "course_id": 1}, {"student_id": 2, "course_id": 2}])
    lines = [(1, 10), (1, 11), (2, 10)]
    insert(
        loading.source,
        "retail.sales",
        [
            {"order_id": order, "product_id": product, "price": Decimal("19.99"), "quantity": 1}
            for order, product in lines
        ],
    )
    backdate(loading.source, *ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(loading.project)
        assert loading.load().complete
    return loading


@pytest.fixture
def settled(after_a_load: LoadedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedSource:
    """A few rows in every table, two hours old, and all of them loaded."""
    monkeypatch.chdir(tmp_path)
    return after_a_load.clone(tmp_path)


@pytest.fixture(scope="session")
def own_server(postgres_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL to kill, that knows prepared transactions."""
    server = new_server(postgres_template, tmp_path_factory.mktemp("own_server"))
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 4")
    server.down()
    server.up()
    yield server
    server.down()
