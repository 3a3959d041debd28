"""The materialization `replace_by_key`: SQLMesh's own plans and runs of a small project, on DuckDB files."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any
from unittest.mock import MagicMock

import duckdb
import pytest
from click.testing import CliRunner
from sqlglot import exp, parse_one
from sqlmesh.cli.main import cli
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import parse
from sqlmesh.core.engine_adapter.snowflake import SnowflakeEngineAdapter
from sqlmesh.core.model import load_sql_based_model
from sqlmesh.core.snapshot.evaluator import get_custom_materialization_type_or_raise
from sqlmesh.utils import CompletionStatus

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
"""Of all models."""

Row = tuple[int | None, int | None]

MODEL = """
MODEL (
  name shop.item,
  kind CUSTOM (
    materialization 'replace_by_key',
    materialization_properties ({properties})
  ),
  cron '@hourly'
);

SELECT id::INT AS id, value::INT AS value FROM work.result
"""


class Shop:
    """A project of one model. Its query returns the rows of work.result: all rows of affected keys, set by the test."""

    def __init__(self, root: Path, properties: str) -> None:
        self.root = root
        self.clock = START + timedelta(days=3, hours=1)
        (root / "models").mkdir()
        (root / "models" / "item.sql").write_text(MODEL.format(properties=properties))
        (root / "config.yaml").write_text(
            f"""
            gateways:
              local:
                connection:
                  type: duckdb
                  catalogs: {{ANALYTICS: '{root}/analytics.duckdb'}}
            model_defaults: {{dialect: snowflake, start: '{START:%Y-%m-%d %H:%M:%S}'}}
            """
        )
        with self.connected() as connection:
            connection.execute("CREATE SCHEMA work; CREATE TABLE work.result (id INT, value INT)")

    @contextmanager
    def connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with closing(duckdb.connect()) as connection:
            connection.execute(f"ATTACH '{self.root}/analytics.duckdb' AS ANALYTICS")
            connection.execute("USE ANALYTICS")
            yield connection

    @contextmanager
    def context(self) -> Iterator[Context]:
        context = Context(paths=str(self.root))
        try:
            yield context
        finally:
            context.close()
            context.engine_adapter.close()

    def result(self, *rows: Row) -> None:
        """Set what the query returns from now on."""
        with self.connected() as connection:
            connection.execute("DELETE FROM work.result")
            if rows:
                connection.executemany("INSERT INTO work.result VALUES (?, ?)", rows)

    def plan(self, environment: str = "prod", **options: Any) -> None:
        with self.context() as context:
            context.plan(environment, auto_apply=True, no_prompts=True, skip_tests=True, **options)

    def run(self) -> CompletionStatus:
        """Run the next hour."""
        self.clock += timedelta(hours=1)
        with self.context() as context:
            return context.run("prod", end=self.clock, execution_time=self.clock, skip_janitor=True)

    def rows(self, schema: str = "shop") -> list[Row]:
        with self.connected() as connection:
            return connection.execute(f"SELECT id, value FROM {schema}.item ORDER BY ALL").fetchall()

    def execute(self, statement: str) -> None:
        """Execute a statement on the model's table, `{table}`."""
        with self.connected() as connection:
            [(table,)] = connection.execute(
                "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE table_name ILIKE 'shop__item__%'"
            ).fetchall()
            connection.execute(statement.format(table=table))

    def tables(self) -> int:
        with self.connected() as connection:
            return len(connection.execute("FROM duckdb_tables() WHERE schema_name <> 'sqlmesh'").fetchall())


@pytest.fixture
def shop(project: Path, tmp_path: Path) -> Shop:
    """A shop whose prod has been planned with two rows of key 1, one of key 2 and one without a key."""
    copytree(project / "materializations", tmp_path / "materializations")
    shop = Shop(tmp_path, "key = id, row_exists = NOT value IS NULL")
    shop.result((1, 10), (1, 11), (2, 20), (None, 5))
    shop.plan()
    assert shop.rows() == [(1, 10), (1, 11), (2, 20), (None, 5)]
    return shop


def test_a_run_replaces_all_rows_of_the_keys_that_the_query_returns(shop: Shop) -> None:
    shop.result((1, 12), (3, 30), (3, 31), (None, 5))
    assert shop.run() == CompletionStatus.SUCCESS
    assert shop.rows() == [(1, 12), (2, 20), (3, 30), (3, 31), (None, 5)]


def test_rows_without_a_key_are_replaced_by_every_run(shop: Shop) -> None:
    shop.result((None, 6), (None, 7))
    assert shop.run() == CompletionStatus.SUCCESS
    assert shop.rows() == [(1, 10), (1, 11), (2, 20), (None, 6), (None, 7)]
    shop.result()
    assert shop.run() == CompletionStatus.SUCCESS
    assert shop.rows() == [(1, 10), (1, 11), (2, 20)]


def test_a_row_that_does_not_exist_removes_the_rows_of_its_key_and_is_not_stored(shop: Shop) -> None:
    shop.result((1, None), (4, None), (None, 5))
    assert shop.run() == CompletionStatus.SUCCESS
    assert shop.rows() == [(2, 20), (None, 5)]


def test_a_row_that_does_not_exist_is_not_stored_by_a_full_refresh_either(shop: Shop) -> None:
    shop.result((1, 10), (2, None))
    shop.plan(restate_models=["shop.item"])
    assert shop.rows() == [(1, 10)]


def test_several_runs_after_a_plan_leave_the_newest_rows_of_each_key(shop: Shop) -> None:
    for value in range(3):
        shop.result((1, value), (value + 5, value), (None, value))
        assert shop.run() == CompletionStatus.SUCCESS
    assert shop.rows() == [(1, 2), (2, 20), (5, 0), (6, 1), (7, 2), (None, 2)]


def test_a_second_run_with_the_same_result_changes_nothing(shop: Shop) -> None:
    shop.result((1, 12), (1, 12), (None, 5), (None, 5))
    shop.run()
    before = shop.rows()
    assert before == [(1, 12), (1, 12), (2, 20), (None, 5), (None, 5)]
    shop.run()
    assert shop.rows() == before


def test_no_temporary_table_is_left(shop: Shop) -> None:
    before = shop.tables()
    shop.result((1, 12))
    shop.run()
    assert shop.tables() == before


def test_a_failure_between_delete_and_insert_leaves_the_rows_and_the_next_run_makes_up_for_it(shop: Shop) -> None:
    shop.execute("CREATE UNIQUE INDEX one_value ON {table} (value)")
    before = shop.rows()
    shop.result((1, 12), (3, 20), (None, 6))  # 20 is the value of key 2: DELETE succeeds, INSERT fails
    tables = shop.tables()
    assert shop.run() == CompletionStatus.FAILURE
    assert shop.rows() == before
    assert shop.tables() == tables

    shop.result((1, 12), (3, 30), (None, 6))
    assert shop.run() == CompletionStatus.SUCCESS
    assert shop.rows() == [(1, 12), (2, 20), (3, 30), (None, 6)]


def test_a_restatement_replaces_the_table(shop: Shop) -> None:
    shop.run()
    shop.result((3, 30))
    shop.plan(restate_models=["shop.item"])
    assert shop.rows() == [(3, 30)]


def test_a_restatement_of_some_hours_replaces_only_the_keys_that_the_query_returns(shop: Shop) -> None:
    shop.result((1, 12))
    shop.plan(restate_models=["shop.item"], start=START + timedelta(hours=5), end=START + timedelta(hours=7))
    assert shop.rows() == [(1, 12), (2, 20)]


def test_a_restatement_of_all_that_an_environment_has_processed_keeps_the_other_keys(shop: Shop) -> None:
    """`plan dev --start` processes only the hours since then. To SQLMesh, restating these is a first insert."""
    start = START + timedelta(hours=5)
    text = (shop.root / "models" / "item.sql").read_text()
    (shop.root / "models" / "item.sql").write_text(text.replace("value::INT", "(value + 1)::INT"))
    shop.plan("dev", start=start)
    assert shop.rows("shop__dev") == [(1, 11), (1, 12), (2, 21), (None, 6)]
    shop.result((1, 12))
    shop.plan("dev", start=start, restate_models=["shop.item"])
    assert shop.rows("shop__dev") == [(1, 13), (2, 21)]
    assert shop.rows() == [(1, 10), (1, 11), (2, 20), (None, 5)]


@pytest.mark.parametrize("properties", ["", "row_exists = NOT value IS NULL", "key = 'id'"])
def test_a_model_without_a_key_ends_in_one_clear_error(project: Path, tmp_path: Path, properties: str) -> None:
    copytree(project / "materializations", tmp_path / "materializations")
    shop = Shop(tmp_path, properties)
    shop.result((1, 10))
    result = CliRunner().invoke(cli, ["--paths", str(tmp_path), "plan", "prod", "--auto-apply", "--no-prompts"])
    output = " ".join(result.output.split())
    assert result.exit_code == 1
    assert output.count("materialization replace_by_key needs materialization_properties (key = …)") == 1, output
    assert "Traceback" not in output


def test_names_are_those_of_the_table_on_snowflake_where_case_matters(shop: Shop) -> None:
    """The emulator of Snowflake is DuckDB, which ignores case. So the statements are checked as text."""
    with shop.context():  # imports the materialization
        _, replace_by_key = get_custom_materialization_type_or_raise("replace_by_key")
    model = load_sql_based_model(
        parse(MODEL.format(properties="key = id, row_exists = NOT value IS NULL"), default_dialect="snowflake"),
        dialect="snowflake",
        default_catalog="ANALYTICS",
    )
    connection = MagicMock()
    connection.cursor().fetchall.return_value = []
    adapter = SnowflakeEngineAdapter(lambda *_, **__: connection, dialect="snowflake", default_catalog="ANALYTICS")
    statements: list[str] = []
    adapter._execute = lambda sql, *_, **__: statements.append(sql)  # type: ignore[method-assign]  # noqa: SLF001
    hour = {"start": START + timedelta(hours=1), "end": START + timedelta(hours=2)}
    replace_by_key(adapter).insert(
        "ANALYTICS.SQLMESH_SHOP.ITEM",
        model.render_query_or_raise(**hour),
        model,
        is_first_insert=False,
        render_kwargs={},
        execution_time=hour["end"],
        **hour,
    )
    changes = [
        parse_one(statement, dialect="snowflake") for statement in statements if statement.startswith(("DEL", "INS"))
    ]
    assert [type(change) for change in changes] == [exp.Delete, exp.Delete, exp.Insert]
    assert {column.name for change in changes for column in change.find_all(exp.Column)} == {"ID", "VALUE"}


COMMAND = """
import gc, sys
from sqlmesh.cli.main import cli

before = gc.get_threshold()
try:
    cli(sys.argv[1:])
except SystemExit as exited:
    print([exited.code, before[0], gc.get_threshold()[0]])
"""


@pytest.mark.parametrize("command", ["run", "plan"])
def test_each_command_collects_garbage_rarely(shop: Shop, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--paths", str(shop.root), command, "prod"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, before, after = json.loads(done.stdout.splitlines()[-1])
    assert (status, after) == (0, 10_000), done.stdout
    assert before < after
