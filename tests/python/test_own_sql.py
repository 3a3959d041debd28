"""A person's own SQL on a snapshot: what it can't reach, when it is stopped, and that its figures are right."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import click
import duckdb
import pandas as pd
import psutil
import pytest

from meshflow import isolated, own_sql
from meshflow.isolated import run
from meshflow.publish import Snapshot
from meshflow.serve import ROW_LIMIT, Query, SnapshotWarehouse, State

EVIL = r"a`![x](http://x.invalid)**b**"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Order lines in prod, and one in the environment dev."""
    file = tmp_path_factory.mktemp("snapshot") / "served.duckdb"
    with duckdb.connect(str(file)) as connection:
        for schema, rows in (("retail", 3), ("retail__dev", 1)):
            connection.execute(f"CREATE SCHEMA {schema}")
            connection.execute(
                f"CREATE TABLE {schema}.fct_sales AS SELECT x AS order_id, DATE '2026-10-01' + x::INT AS order_date, "
                f"10.25::DECIMAL(18, 2) AS net_revenue_amount FROM range({rows}) AS r(x)"
            )
    return file


def answer(snapshot: Path, sql: str, environment: str = "prod") -> pd.DataFrame:
    warehouse = SnapshotWarehouse("local", snapshot.parent)
    state = State("1", Snapshot(snapshot, pd.Timestamp.now("UTC")))
    return warehouse.run(state, environment, Query(sql, is_own=True))


def message(snapshot: Path, sql: str) -> str:
    with pytest.raises(click.ClickException) as caught:
        answer(snapshot, sql)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_figures_keep_their_types(snapshot: Path) -> None:
    rows = answer(
        snapshot,
        "SELECT DATE_TRUNC('MONTH', order_date)::DATE AS month, SUM(net_revenue_amount) AS net, COUNT(*) AS lines, "
        "NULL AS nothing FROM retail.fct_sales GROUP BY 1",
    )
    assert rows.to_dict("records") == [
        {"month": date(2026, 10, 1), "net": Decimal("30.75"), "lines": 3, "nothing": None}
    ]
    listed = answer(snapshot, "SELECT ARRAY_AGG(order_id) AS orders FROM retail.fct_sales")
    assert sorted(listed["orders"][0]) == sorted("[0, 1, 2]"), "shown as text"


def test_the_query_reads_the_tables_of_its_environment(snapshot: Path) -> None:
    sql = "WITH sales AS (SELECT * FROM retail.fct_sales) SELECT COUNT(*) AS n FROM sales"
    assert (answer(snapshot, sql)["n"][0], answer(snapshot, sql, "dev")["n"][0]) == (3, 1)
    assert Query(sql, is_own=True).tables == ["retail.fct_sales"]


@pytest.mark.parametrize(
    "limit", ["", "LIMIT 99999999", "FETCH FIRST 99999999 ROWS ONLY", "UNION ALL SELECT 1", "LIMIT 10001 OFFSET 5"]
)
def test_no_more_rows_are_returned_than_one_above_the_maximum(snapshot: Path, limit: str) -> None:
    assert len(answer(snapshot, f"SELECT x FROM (SELECT UNNEST(RANGE(20000)) AS x) AS many {limit}")) == ROW_LIMIT + 1


def test_a_lower_limit_stays(snapshot: Path) -> None:
    assert len(answer(snapshot, "SELECT x FROM (SELECT UNNEST(RANGE(20)) AS x) AS few LIMIT 5")) == 5


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE retail.fct_sales", "SELECT 1; SELECT 2", "", " -- nothing", "COPY INTO x FROM y",
        "PUT file:///etc/passwd @s", "USE ROLE ACCOUNTADMIN", "SET x = 1", "SHOW TABLES", "CREATE TABLE x AS SELECT 1",
        "DESCRIBE TABLE retail.fct_sales", "INSERT INTO x SELECT 1", "CALL p()", "EXECUTE IMMEDIATE 'SELECT 1'",
        "SELECT (", "BEGIN; SELECT 1; END", "ALTER SESSION SET TIMEZONE = 'UTC'",
    ],
)  # fmt: skip
def test_anything_but_one_select_is_rejected_for_every_engine(sql: str) -> None:
    for dialect in ("duckdb", "snowflake"):
        with pytest.raises(ValueError, match=r"^(Write a single SELECT|The SQL can't be parsed: `.*`\.$)"):
            own_sql.translate(sql, "prod", dialect)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{secret}')", "SELECT * FROM read_text('{secret}')", "SELECT * FROM '{secret}'",
        "SELECT * FROM read_blob('{secret}')", 'SELECT * FROM "{secret}"', "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_parquet('https://example.org/x')", "SELECT getenv('CANARY')",
        "SELECT * FROM sniff_csv('{secret}')", "SELECT * FROM read_duckdb('{folder}/other.duckdb')",
        "SELECT * FROM query('FROM read_csv(''{secret}'')')", "SELECT * FROM query_table('{secret}')",
        "SELECT * FROM pii.student", "SELECT * FROM parquet_metadata('{secret}')", "SELECT * FROM duckdb_secrets()",
    ],
)  # fmt: skip
def test_no_file_variable_or_network_is_read(
    snapshot: Path, tmp_path: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts are run as they are: nothing relies on their translation."""
    monkeypatch.setenv("CANARY", "canary")
    secret = tmp_path / "secret.csv"
    secret.write_text("canary\ncanary\n")
    with pytest.raises(click.ClickException) as caught:
        run(snapshot, sql.format(secret=secret, folder=tmp_path))
    assert "canary" not in caught.value.message
    assert list(tmp_path.iterdir()) == [secret]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY retail.fct_sales TO '{folder}/x.csv'", "EXPORT DATABASE '{folder}/x'", "ATTACH '{folder}/x.duckdb'",
        "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true", "SET lock_configuration = false",
        "RESET memory_limit", "PRAGMA temp_directory='{folder}'", "CREATE TABLE x AS SELECT 1",
        "DELETE FROM retail.fct_sales", "SELECT 1; DROP TABLE retail.fct_sales",
    ],
)  # fmt: skip
def test_statements_that_a_translation_might_let_through_change_nothing(
    snapshot: Path, tmp_path: Path, statement: str
) -> None:
    before = snapshot.read_bytes()
    with pytest.raises(click.ClickException):
        run(snapshot, statement.format(folder=tmp_path))
    assert snapshot.read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_the_process_has_no_variable_of_ours_and_writes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it executes: here instead of its program."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import os, runpy, sys, json; runpy.run_path({own_sql.__file__!r})['_limit']()\n"
        "try:\n    written = os.write(os.open('written', os.O_CREAT | os.O_WRONLY), b'x')\n"
        "except OSError:\n    written = 0\n"
        "print(json.dumps([dict(os.environ), written]))\n"
    )
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_PRIVATE_KEY", "canary")
    monkeypatch.setattr(own_sql, "__file__", str(program))
    monkeypatch.chdir(tmp_path)
    variables, written = json.loads(isolated._call("run"))  # noqa: SLF001
    assert variables.keys() <= {"LC_CTYPE"}, "which Python sets"
    assert not written


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT MAX(n) FROM t",
        f"SELECT {'a' * 99}::{'ARRAY(' * 400}INT{')' * 400}",
        f"SELECT {'CASE WHEN 1 THEN ' * 190}1{' END' * 190}",
    ],
    ids=["endless", "nested types", "nested cases"],
)
def test_a_query_is_stopped_when_its_time_is_up_also_while_it_is_parsed(
    snapshot: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "TIME_LIMIT_SECONDS", 2)
    assert message(snapshot, sql).startswith(("The query was stopped after 2 s.", "The SQL can't be parsed: "))
    assert not [one for one in psutil.Process().children() if "own_sql" in " ".join(one.cmdline())]
    monkeypatch.undo()
    assert len(answer(snapshot, "SELECT 1 AS one")) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ARRAY_AGG(x) FROM (SELECT UNNEST(RANGE(1000000000)) AS x) AS r",
        "SELECT REPEAT('x', 3000000000) AS x",
        "SELECT REPEAT('x', 300000) AS x FROM (SELECT UNNEST(RANGE(1000)) AS x) AS r",
    ],
    ids=["list", "text", "result"],
)
def test_a_query_that_needs_too_much_memory_fails_alone(snapshot: Path, sql: str) -> None:
    assert message(snapshot, sql).startswith(
        ("The query failed: `Out of Memory", "The query needs more", "The result has")
    )


def test_more_queries_than_processes_wait_and_are_told_so(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "TIME_LIMIT_SECONDS", 0.1)
    for _ in range(isolated.PROCESSES):
        isolated._free.acquire()  # noqa: SLF001
    try:
        with pytest.raises(click.ClickException, match=r"^Other queries are running\. Run yours again"):
            run(snapshot, "SELECT 1")
    finally:
        isolated._free.release(isolated.PROCESSES)  # noqa: SLF001


@pytest.mark.parametrize(
    "sql",
    [f"SELECT '{EVIL}'::INT", f'SELECT "{EVIL}"', f'SELECT * FROM retail."{EVIL}"', f"SELECT ) {EVIL}", f'"{EVIL}"'],
)
def test_an_error_shows_the_text_as_code(snapshot: Path, sql: str) -> None:
    """A page shows a message as Markdown: an image would be requested from anybody's server."""
    found = message(snapshot, sql)
    assert EVIL not in found
    outside = found.split("`")[::2]
    assert not [part for part in outside if "![" in part or "**" in part]


def test_a_failure_of_the_program_is_told_from_one_of_the_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys; sys.stderr.write('anything'); raise KeyError")
    monkeypatch.setattr(own_sql, "__file__", str(program))
    with pytest.raises(click.ClickException, match=r"^The query needs more memory than it may have, or its process"):
        run(tmp_path, "SELECT 1")
