"""Queries of the dashboards on a snapshot: what the engine lets them read, for how long, and those in files."""

from contextlib import closing
from pathlib import Path

import click
import duckdb
import pandas as pd
import pytest
from workspace import Workspace

from meshflow import serve
from meshflow.publish import publish
from meshflow.serve import LOCKED, Query, SnapshotWarehouse

QUERIES = sorted((Path(__file__).parents[2] / "dashboards" / "queries").glob("*.sql"))


@pytest.fixture(scope="module")
def data(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built.clone(tmp_path_factory.mktemp("snapshots")).data


@pytest.fixture(scope="module")
def warehouse(data: Path) -> SnapshotWarehouse:
    return SnapshotWarehouse("local", data)


def fetch(warehouse: SnapshotWarehouse, sql: str) -> pd.DataFrame:
    return warehouse.run(warehouse.now(), "prod", Query(sql))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('https://example.org/x')",
        "SELECT getenv('HOME')",
        "SELECT * FROM secret",
        "COPY retail.fct_sales TO '{folder}/x.csv'",
        "EXPORT DATABASE '{folder}/x'",
        "ATTACH '{folder}/x.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM retail.fct_sales",
    ],
)
def test_no_statement_reaches_more_than_the_snapshot(data: Path, tmp_path: Path, statement: str) -> None:
    secret = pd.DataFrame({"a": [1]})
    snapshot = publish(data / "local_analytics.duckdb", data / "dashboards").path
    with (
        closing(duckdb.connect(str(snapshot), read_only=True, config=LOCKED)) as connection,
        pytest.raises(duckdb.Error),
    ):
        connection.execute(statement.format(folder=tmp_path)).fetchall()
    assert not list(tmp_path.iterdir())
    assert len(secret) == 1


def test_a_query_that_runs_too_long_is_stopped(warehouse: SnapshotWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "TIME_LIMIT_SECONDS", 0.2)
    endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT MAX(n) FROM t"
    with pytest.raises(click.ClickException, match=r"^The query was stopped after 0\.2 s\.$"):
        fetch(warehouse, endless)
    assert len(fetch(warehouse, "SELECT 1 AS one")) == 1


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_saved_queries_run(warehouse: SnapshotWarehouse, file: Path) -> None:
    sql = file.read_text(encoding="utf-8")
    assert sql.startswith("-- "), "its title"
    fetch(warehouse, sql)
