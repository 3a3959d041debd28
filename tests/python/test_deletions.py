"""Rows that are gone from the source without a mark: `meshflow load` marks them in RAW."""

import json
from datetime import UTC
from typing import Any

import duckdb
import pytest
from loads import LoadPipeline, RecordingReporter, add_contract, change_contract, run_meshflow

from meshflow.loading import contract, deletions

pytest_plugins = ("load_fixtures",)


def marked(pipeline: LoadPipeline, table: str) -> list[tuple[Any, ...]]:
    """Key, `_deleted_at` and `_loaded_at` of the rows of RAW that are marked."""
    key = {"edtech.students": "student_id", "retail.sales": "order_id, product_id"}[table]
    columns = f"{key}, _deleted_at, _loaded_at"
    rows = pipeline.query(f"SELECT {columns} FROM {table} WHERE _deleted_at IS NOT NULL ORDER BY ALL")
    return [(*keys, deleted_at.replace(tzinfo=UTC), at.replace(tzinfo=UTC)) for *keys, deleted_at, at in rows]


def test_a_load_marks_the_rows_that_are_gone_and_leaves_the_others(by_each_cursor: LoadPipeline) -> None:
    before = by_each_cursor.loaded_at("edtech.students")
    by_each_cursor.source.execute("DELETE FROM edtech.students WHERE student_id IN (1, 3)")
    by_each_cursor.source.execute("DELETE FROM retail.sales WHERE product_id = 10")

    recorded = by_each_cursor.load()

    at = recorded.started_at
    assert marked(by_each_cursor, "edtech.students") == [(1, at, at), (3, at, at)]
    assert marked(by_each_cursor, "retail.sales") == [(1, 10, at, at), (2, 10, at, at)]
    assert by_each_cursor.loaded_at("edtech.students")[2] == before[2]
    assert {table: load.deletions.marked for table, load in recorded.loads.items()} == {
        "edtech.students": 2, "edtech.courses": 0, "edtech.enrollments": 0, "retail.sales": 2,
    }  # fmt: skip
    assert [rows for *_, rows in by_each_cursor.load_log()[-4:]] == [2, 0, 0, 2], "the signal waits for rows"
    assert by_each_cursor.in_raw("retail.sales") == by_each_cursor.in_source("retail.sales")

    again = by_each_cursor.load()
    assert not any(load.deletions.marked for load in again.loads.values())
    assert marked(by_each_cursor, "edtech.students") == [(1, at, at), (3, at, at)]


def test_a_changed_key_is_a_delete_and_an_insert(by_each_cursor: LoadPipeline) -> None:
    by_each_cursor.source.execute("UPDATE retail.sales SET order_id = 900 WHERE order_id = 1")
    at = by_each_cursor.load("retail.sales").started_at
    assert marked(by_each_cursor, "retail.sales") == [(1, 10, at, at), (1, 11, at, at)]
    assert by_each_cursor.in_raw("retail.sales") == by_each_cursor.in_source("retail.sales")


def test_a_purge_of_soft_deleted_rows_is_no_news(by_each_cursor: LoadPipeline) -> None:
    """Or a run would compute them again, and count them as deleted this week."""
    by_each_cursor.source.execute("UPDATE edtech.students SET deleted_at = now() WHERE student_id = 2")
    soft_deleted = by_each_cursor.load("edtech.students").started_at
    by_each_cursor.source.execute("DELETE FROM edtech.students WHERE student_id IN (2, 3)")
    purged = by_each_cursor.load("edtech.students").started_at
    assert marked(by_each_cursor, "edtech.students") == [(2, purged, soft_deleted), (3, purged, purged)]
    assert by_each_cursor.in_raw("edtech.students") == by_each_cursor.in_source("edtech.students")


@pytest.mark.parametrize("type_", ["timestamptz NOT NULL", "shop.deletion"])
def test_a_deleted_at_that_is_not_null_is_no_soft_delete(pipeline: LoadPipeline, type_: str) -> None:
    """Active rows have a value in it too: an equal row counts as active, and a deletion is news to the models."""
    for statement in (
        "CREATE SCHEMA shop",
        "CREATE DOMAIN shop.deletion AS timestamptz NOT NULL",
        f"CREATE TABLE shop.users (id int PRIMARY KEY, name text, deleted_at {type_} DEFAULT '9999-12-31')",
        "INSERT INTO shop.users (id, name) VALUES (1, 'Ada'), (2, 'Grace')",
        "GRANT USAGE ON SCHEMA shop TO loader",
        "GRANT SELECT ON shop.users TO loader",
    ):
        pipeline.source.execute(statement)
    add_contract(pipeline, "shop.users", "id", {"id": "INT", "name": "VARCHAR", "deleted_at": "TIMESTAMPNTZ"})
    assert pipeline.load().complete
    with duckdb.connect(str(pipeline.raw)) as raw:
        raw.execute("UPDATE shop.users SET name = 'Emmy' WHERE id = 1")
    found = run_meshflow(pipeline, "reconcile", "--json")
    events = [json.loads(line) for line in found.stdout.splitlines()]
    [users] = [event for event in events if event["event"] == "reconciled" and event["table"] == "shop.users"]
    assert (users["source_rows"], users["raw_rows"], users["differing_days"]) == (2, 2, 1)
    pipeline.source.execute("DELETE FROM shop.users WHERE id = 2")
    at = pipeline.load().started_at
    assert at
    [(loaded_at,)] = pipeline.query("SELECT _loaded_at FROM shop.users WHERE _deleted_at IS NOT NULL")
    assert loaded_at.replace(tzinfo=UTC) == at


def test_as_many_inserts_as_deletes_do_not_hide_these(by_each_cursor: LoadPipeline) -> None:
    by_each_cursor.source.execute("DELETE FROM edtech.students WHERE student_id = 2")
    by_each_cursor.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    by_each_cursor.load("edtech.students")
    assert by_each_cursor.in_raw("edtech.students") == by_each_cursor.in_source("edtech.students")


def test_a_row_that_comes_back_is_not_marked(by_each_cursor: LoadPipeline) -> None:
    by_each_cursor.source.execute("DELETE FROM edtech.students WHERE student_id = 2")
    by_each_cursor.load("edtech.students")
    by_each_cursor.source.execute("INSERT INTO edtech.students (student_id, first_name) VALUES (2, 'Grace')")
    by_each_cursor.load("edtech.students")
    assert marked(by_each_cursor, "edtech.students") == []
    assert by_each_cursor.in_raw("edtech.students") == by_each_cursor.in_source("edtech.students")


def test_an_emptied_table_is_marked_in_several_statements(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "MARKED_AT_ONCE", 2)
    loaded_pipeline.source.execute("TRUNCATE retail.sales")
    recorded = loaded_pipeline.load("retail.sales")
    assert recorded.loads["retail.sales"].deletions.marked == 3
    assert loaded_pipeline.in_raw("retail.sales") == []


def test_keys_of_a_large_table_are_compared_by_reconcile_only(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "MAX_COMPARED_ROWS", 1)
    loaded_pipeline.source.execute("DELETE FROM edtech.students WHERE student_id = 2")
    result = run_meshflow(loaded_pipeline, "load", "--only", "edtech.students")
    assert result.exit_code == 0
    assert "edtech.students: 1 rows of RAW are missing in the source" in result.stderr
    assert "allows more" in result.stderr
    assert marked(loaded_pipeline, "edtech.students") == []

    assert run_meshflow(loaded_pipeline, "reconcile", "--repair").exit_code == 0
    assert [key for key, *_ in marked(loaded_pipeline, "edtech.students")] == [2]
    assert run_meshflow(loaded_pipeline, "load").stderr == ""


def test_the_contract_sets_how_many_keys_loads_compare(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "MAX_COMPARED_ROWS", 1)
    grain = "  grain: student_id\n"
    change_contract(loaded_pipeline, "edtech.yaml", grain, f"{grain}  physical_properties: {{max_rows: 3}}\n")
    loaded_pipeline.source.execute("DELETE FROM edtech.students WHERE student_id = 2")
    assert loaded_pipeline.load("edtech.students").loads["edtech.students"].deletions.marked == 1


def test_a_row_of_the_source_that_is_missing_in_raw_is_an_error_with_its_remedy(loaded_pipeline: LoadPipeline) -> None:
    with duckdb.connect(str(loaded_pipeline.raw)) as raw:
        raw.execute("DELETE FROM edtech.students WHERE student_id = 1")
    before = len(loaded_pipeline.load_log())
    recorded = loaded_pipeline.load("edtech.students")
    message = recorded.rejections["edtech.students"]
    assert message.startswith("edtech.students: 1 rows of the source are missing in RAW; `meshflow load ")
    assert len(loaded_pipeline.load_log()) == before, "an incomplete load counts as finished"
    assert run_meshflow(loaded_pipeline, *message.split("`")[1].split()[1:]).exit_code == 0
    assert loaded_pipeline.in_raw("edtech.students") == loaded_pipeline.in_source("edtech.students")


@pytest.mark.parametrize(
    "rewrite",
    [
        "ALTER TABLE edtech.students ALTER student_id TYPE integer",
        "TRUNCATE edtech.students",
    ],
)
def test_a_table_rewritten_during_a_load_is_loaded_by_the_next(by_each_cursor: LoadPipeline, rewrite: str) -> None:
    """To the load's snapshot it looks empty."""
    before = by_each_cursor.query("FROM edtech.students ORDER BY ALL")
    reporter = RecordingReporter(on_start=lambda _: by_each_cursor.source.execute(rewrite))
    recorded = by_each_cursor.load("edtech.students", reporter=reporter)
    assert "TRUNCATE or VACUUM FULL has rewritten it" in recorded.rejections["edtech.students"]
    assert by_each_cursor.query("FROM edtech.students ORDER BY ALL") == before, "its rows count as deleted"
    assert by_each_cursor.load("edtech.students").complete
    assert by_each_cursor.in_raw("edtech.students") == by_each_cursor.in_source("edtech.students")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE retail.sales DROP city, ADD city text DEFAULT 'Utrecht'",
        """
        ALTER TABLE retail.sales RENAME city TO town; ALTER TABLE retail.sales RENAME country TO city;
        ALTER TABLE retail.sales RENAME town TO country
        """,
        """
        ALTER TABLE retail.sales RENAME TO previous; CREATE TABLE retail.sales (LIKE retail.previous INCLUDING ALL);
        GRANT SELECT ON retail.sales TO loader
        """,
    ],
)
def test_a_table_or_column_that_replaces_another_is_read_entirely(by_each_cursor: LoadPipeline, change: str) -> None:
    """None of its rows has a new xmin or updated_at."""
    by_each_cursor.source.execute("UPDATE retail.sales SET city = 'Ghent', country = 'Belgium'")
    by_each_cursor.load("retail.sales")
    by_each_cursor.source.execute(change)
    assert by_each_cursor.load("retail.sales").complete
    assert by_each_cursor.in_raw("retail.sales") == by_each_cursor.in_source("retail.sales")
