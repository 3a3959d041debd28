"""Fixtures of the tests of `meshflow load`: an empty source, a loaded source, and a server that a test may stop."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from loads import SOURCE_TABLES, LoadPipeline, backdate, insert, without_time_cursor
from sharing import new_server
from sources import SourceDatabase

from meshflow.source.server import Server


@pytest.fixture
def pipeline(source: SourceDatabase, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadPipeline:
    """An empty source, and no load yet."""
    monkeypatch.chdir(tmp_path)
    return LoadPipeline.new(source, project, tmp_path)


@pytest.fixture(scope="module")
def loaded_template(postgres: Server, project: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadPipeline:
    """Two or more rows per table, two hours old and loaded. Clone it before use."""
    pipeline = LoadPipeline.new(SourceDatabase.new(postgres), project, tmp_path_factory.mktemp("loaded_template"))
    insert(pipeline.source, "edtech.students", [{"first_name": name} for name in ("Ada", "Grace", "Emmy")])
    insert(pipeline.source, "edtech.courses", [{"course_name": name, "credits": 5} for name in ("Logic", "Compilers")])
    insert(
        pipeline.source, "edtech.enrollments", [{"student_id": 1, "course_id": 1}, {"student_id": 2, "course_id": 2}]
    )
    lines = [(1, 10), (1, 11), (2, 10)]
    insert(
        pipeline.source,
        "retail.sales",
        [
            {"order_id": order, "product_id": product, "price": Decimal("19.99"), "quantity": 1}
            for order, product in lines
        ],
    )
    backdate(pipeline.source, *SOURCE_TABLES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pipeline.project)
        assert pipeline.load().complete
    return pipeline


@pytest.fixture
def loaded_pipeline(loaded_template: LoadPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadPipeline:
    """A few rows per table, two hours old and loaded."""
    monkeypatch.chdir(tmp_path)
    return loaded_template.clone(tmp_path)


@pytest.fixture(params=["updated_at", "xmin"])
def by_each_cursor(request: pytest.FixtureRequest, loaded_pipeline: LoadPipeline) -> LoadPipeline:
    """`loaded_pipeline`, once for each cursor that its loads may use."""
    if request.param == "xmin":
        without_time_cursor(loaded_pipeline.source)
    return loaded_pipeline


@pytest.fixture(scope="session")
def own_server(postgres_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A separate PostgreSQL that a test may stop, with prepared transactions enabled."""
    server = new_server(postgres_template, tmp_path_factory.mktemp("own_server"))
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 4")
    server.down()
    server.up()
    yield server
    server.down()
