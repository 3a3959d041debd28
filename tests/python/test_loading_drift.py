"""`meshflow load` if contract and source differ, and its output on the console and as JSON."""

import json
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import duckdb
import psycopg
import pytest
from loads import (
    SOURCE_TABLES,
    LoadPipeline,
    RecordingReporter,
    add_contract,
    backdate,
    change_contract,
    connect_as_superuser,
    error_line,
    run_meshflow,
)
from psycopg import sql

from meshflow.loading import reader, rejections
from meshflow.loading.contract import Table
from meshflow.loading.destination import Destination
from meshflow.loading.reader import Cursor

pytest_plugins = ("load_fixtures",)


def test_a_new_column_is_reported_and_the_load_succeeds(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("ALTER TABLE retail.sales ADD coupon text")
    loaded_pipeline.source.execute("INSERT INTO retail.sales (order_id, product_id, coupon) VALUES (3, 10, 'TEN')")
    result = run_meshflow(loaded_pipeline, "load", "--only", "retail.sales")
    assert result.exit_code == 0, result.output
    (message,) = result.stderr.splitlines()
    for part in ("retail.sales", "coupon (text)", "external_models/retail.yaml", "models/raw/retail/sales.sql"):
        assert part in message
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")


def test_a_rejected_attempt_is_in_the_load_log_and_moves_no_cursor(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.load("retail.sales")
    expected = loaded_pipeline.load("retail.sales").cursors["retail.sales"]
    loaded_pipeline.source.execute("ALTER TABLE retail.sales RENAME price TO cost")
    assert not loaded_pipeline.load("retail.sales").complete
    statuses = loaded_pipeline.query("SELECT status, error_class FROM loader.loads ORDER BY started_at DESC LIMIT 2")
    assert statuses == [("rejected", "TableError"), ("finished", None)]
    loaded_pipeline.source.execute("ALTER TABLE retail.sales RENAME cost TO price")
    assert loaded_pipeline.load("retail.sales").cursors["retail.sales"].name == expected.name != "all"


def test_a_load_log_of_an_earlier_version_gets_the_new_columns(loaded_pipeline: LoadPipeline) -> None:
    with closing(duckdb.connect(str(loaded_pipeline.raw))) as raw:
        raw.execute("ALTER TABLE loader.loads DROP status")
    assert loaded_pipeline.load("retail.sales").cursors["retail.sales"] != Cursor()
    assert loaded_pipeline.query("SELECT status FROM loader.loads ORDER BY started_at DESC LIMIT 1") == [("finished",)]


def test_a_column_added_to_the_contract_is_loaded_with_its_past_values(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("ALTER TABLE retail.sales ADD coupon text, ADD weight numeric(10, 3)")
    loaded_pipeline.source.execute("UPDATE retail.sales SET coupon = 'TEN', weight = 0.125 WHERE order_id = 1")
    loaded_pipeline.load("retail.sales")
    backdate(loaded_pipeline.source, "retail.sales")
    loaded_pipeline.load("retail.sales")
    change_contract(
        loaded_pipeline,
        "retail.yaml",
        "    _loaded_at:",
        "    coupon: VARCHAR\n    weight: DECIMAL(10, 3)\n    _loaded_at:",
    )

    recorded = loaded_pipeline.load("retail.sales")

    assert recorded.new_columns == []
    assert recorded.cursors == {"retail.sales": Cursor()}
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")
    assert loaded_pipeline.query("SELECT coupon, weight FROM retail.sales ORDER BY order_id, product_id") == [
        ("TEN", Decimal("0.125")), ("TEN", Decimal("0.125")), (None, None),
    ]  # fmt: skip
    assert loaded_pipeline.load("retail.sales").loads["retail.sales"].rows == 0, "all rows are read more than once"


def test_a_column_added_to_the_contract_of_an_empty_table_is_created(pipeline: LoadPipeline) -> None:
    pipeline.load("retail.sales")
    pipeline.source.execute("ALTER TABLE retail.sales ADD coupon text")
    change_contract(pipeline, "retail.yaml", "    _loaded_at:", "    coupon: VARCHAR\n    _loaded_at:")
    pipeline.load("retail.sales")
    assert ("coupon", "VARCHAR") in [(name, type_) for name, type_, *_ in pipeline.query("DESCRIBE retail.sales")]
    assert pipeline.load("retail.sales").cursors["retail.sales"] != Cursor(), "all rows are read more than once"


def test_a_type_changed_in_the_contract_needs_a_full_refresh(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("ALTER TABLE retail.sales ALTER price TYPE numeric(20, 4)")
    loaded_pipeline.source.execute("UPDATE retail.sales SET price = 1.2345 WHERE order_id = 1")
    loaded_pipeline.source.execute("ALTER TABLE edtech.courses ALTER credits TYPE bigint")
    loaded_pipeline.source.execute("UPDATE edtech.courses SET credits = 3000000000 WHERE course_id = 1")
    change_contract(loaded_pipeline, "retail.yaml", "price: DECIMAL(18, 2)", "price: DECIMAL(20, 4)")
    change_contract(loaded_pipeline, "edtech.yaml", "credits: INT", "credits: BIGINT")
    before = {table: loaded_pipeline.query(f"FROM {table} ORDER BY ALL") for table in SOURCE_TABLES}

    recorded = loaded_pipeline.load()

    assert list(recorded.loads) == ["edtech.students", "edtech.enrollments"]
    for table in ("edtech.courses", "retail.sales"):
        assert f"`meshflow load --full-refresh --only {table}` recreates the table" in recorded.rejections[table]
    assert {table: loaded_pipeline.query(f"FROM {table} ORDER BY ALL") for table in SOURCE_TABLES} == before

    refreshed = loaded_pipeline.load("edtech.courses", "retail.sales", full=True)

    assert refreshed.complete
    for table in refreshed.loads:
        assert loaded_pipeline.in_raw(table) == loaded_pipeline.in_source(table)
        assert set(loaded_pipeline.loaded_at(table).values()) == {refreshed.started_at}
    types = {name: type_ for table in refreshed.loads for name, type_, *_ in loaded_pipeline.query(f"DESCRIBE {table}")}
    assert (types["credits"], types["price"]) == ("BIGINT", "DECIMAL(20,4)")
    for table in ("edtech.students", "edtech.enrollments"):
        assert loaded_pipeline.query(f"FROM {table} ORDER BY ALL") == before[table]
    assert Cursor() not in loaded_pipeline.load(*refreshed.loads).cursors.values(), "all rows are read more than once"


@pytest.mark.parametrize(
    ("table", "drift", "message"),
    [
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE double precision", "price is double precision"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE numeric(18, 3)", "price is numeric(18,3)"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER quantity TYPE bigint", "quantity is bigint"),
        ("retail.sales", "ALTER TABLE retail.sales RENAME city TO town", "column city is gone"),
        ("edtech.students", "ALTER TABLE edtech.students DROP first_name", "column first_name is gone"),
        ("edtech.students", "ALTER TABLE edtech.students DROP updated_at", "column updated_at is gone"),
        ("edtech.students", "DROP TABLE edtech.students", "the source has no such table"),
        ("edtech.students", "ALTER TABLE edtech.students RENAME TO pupils", "the source has no such table"),
        ("edtech.students", "ALTER TABLE edtech.students DROP CONSTRAINT students_pkey", "no primary key or unique"),
        (
            "retail.sales",
            "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD PRIMARY KEY (order_id, product_id, created_at)",
            "no primary key or unique index on (order_id, product_id)",
        ),
        (
            "retail.sales",
            """
            ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ALTER product_id DROP NOT NULL,
            ADD UNIQUE NULLS NOT DISTINCT (order_id, product_id)
            """,
            "product_id of the key may be NULL in the source",
        ),
        (
            "retail.sales",
            """
            ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ALTER product_id DROP NOT NULL,
            ADD CONSTRAINT required NOT NULL product_id NOT VALID, ADD UNIQUE (order_id, product_id)
            """,
            "product_id of the key may be NULL in the source",
        ),
        (
            "edtech.students",
            """
            ALTER TABLE edtech.students DROP CONSTRAINT students_pkey;
            CREATE UNIQUE INDEX ON edtech.students (student_id, lower(email))
            """,
            "no primary key or unique index on (student_id)",
        ),
        (
            "edtech.students",
            """
            ALTER TABLE edtech.students RENAME TO people;
            CREATE VIEW edtech.students AS SELECT * FROM edtech.people;
            GRANT SELECT ON edtech.students TO loader
            """,
            "it isn't a table in the source",
        ),
        ("retail.sales", "REVOKE SELECT ON retail.sales FROM loader", "`GRANT SELECT ON retail.sales TO loader`"),
        (
            "edtech.students",
            """
            REVOKE SELECT ON edtech.students FROM loader;
            GRANT SELECT (student_id, first_name) ON edtech.students TO loader
            """,
            "`GRANT SELECT ON edtech.students TO loader`",
        ),
        (
            "edtech.students",
            """
            ALTER TABLE edtech.students ENABLE ROW LEVEL SECURITY;
            CREATE POLICY few ON edtech.students USING (student_id <> 1)
            """,
            "row-level security hides rows from the loader; `ALTER ROLE loader BYPASSRLS`",
        ),
        ("edtech.students", "REVOKE USAGE ON SCHEMA edtech FROM loader", "`GRANT USAGE ON SCHEMA edtech TO loader`"),
    ],
)  # fmt: skip
def test_only_the_table_that_breaks_the_contract_is_rejected(
    loaded_pipeline: LoadPipeline, table: str, drift: str, message: str
) -> None:
    other = "retail.sales" if table == "edtech.students" else "edtech.students"
    before = loaded_pipeline.query(f"FROM {table} ORDER BY ALL")
    loaded_pipeline.source.execute("UPDATE edtech.students SET last_name = 'new'")
    loaded_pipeline.source.execute("UPDATE retail.sales SET cust_name = 'new'")
    with psycopg.connect(loaded_pipeline.source.url) as writer:
        writer.execute(drift.encode())

    recorded = loaded_pipeline.load(table, other)

    assert not recorded.complete
    assert list(recorded.rejections) == [table]
    assert message in recorded.rejections[table]
    assert table in recorded.rejections[table]
    assert "\n" not in recorded.rejections[table]
    assert loaded_pipeline.query(f"FROM {table} ORDER BY ALL") == before, "RAW has changed"
    assert loaded_pipeline.in_raw(other) == loaded_pipeline.in_source(other)
    assert [f"{source}.{name}" for source, name, *_ in loaded_pipeline.load_log()[4:]] == [other]


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE retail.sales ALTER city TYPE varchar(40)",
        "ALTER TABLE retail.sales ALTER city TYPE varchar",
        "ALTER TABLE retail.sales ALTER quantity TYPE smallint",
        "ALTER TABLE retail.sales ALTER price TYPE numeric(10, 1)",
        "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD UNIQUE (product_id, order_id)",
        "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD UNIQUE NULLS NOT DISTINCT (product_id, order_id)",
        "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD PRIMARY KEY (order_id, product_id) INCLUDE (city)",
    ],
)
def test_a_type_change_whose_values_all_fit_is_accepted(loaded_pipeline: LoadPipeline, drift: str) -> None:
    with psycopg.connect(loaded_pipeline.source.url) as writer:
        writer.execute(drift.encode())
    loaded_pipeline.source.execute("UPDATE retail.sales SET city = 'Utrecht', quantity = 32767, price = 9.9")
    recorded = loaded_pipeline.load("retail.sales")
    assert (recorded.complete, recorded.new_columns) == (True, [])
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")


def test_a_locked_table_is_rejected_and_the_others_are_loaded(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a migration that lasts."""
    monkeypatch.setitem(reader.SETTINGS, "lock_timeout", "1ms")
    loaded_pipeline.source.execute("UPDATE edtech.courses SET credits = 6")
    with psycopg.connect(loaded_pipeline.source.url) as migration:
        migration.execute("LOCK TABLE edtech.students")
        recorded = loaded_pipeline.load("edtech.students", "edtech.courses")
    assert "another session, such as a migration, has locked the table" in recorded.rejections["edtech.students"]
    assert list(recorded.loads) == ["edtech.courses"]
    assert loaded_pipeline.load().complete


def test_settings_of_the_loaders_role_change_nothing(loaded_pipeline: LoadPipeline) -> None:
    settings = {
        "DateStyle": "German, DMY", "TimeZone": "Asia/Kolkata", "search_path": "retail", "statement_timeout": "1",
        "idle_in_transaction_session_timeout": "1", "IntervalStyle": "sql_standard", "bytea_output": "escape",
        "extra_float_digits": "-15",
    }  # fmt: skip
    database = sql.Identifier(loaded_pipeline.source.database)
    with closing(connect_as_superuser(loaded_pipeline.source, autocommit=True)) as connection:
        for name, value in settings.items():
            statement = sql.SQL("ALTER ROLE loader IN DATABASE {} SET {} = {}")
            connection.execute(statement.format(database, sql.Identifier(name), sql.Literal(value)))
    loaded_pipeline.source.execute("UPDATE retail.sales SET purchased_at = '2026-02-01 01:02:03.4+00'")
    reporter = RecordingReporter(on_start=lambda _: time.sleep(0.05))
    assert loaded_pipeline.load(reporter=reporter).complete
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")


def test_a_rejected_table_gives_one_error_line_and_exit_status_1(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    result = run_meshflow(loaded_pipeline, "load")
    assert result.exit_code == 1
    assert error_line(result.stderr).startswith("Error: edtech.students: no primary key")
    summary = {words[0]: words[-1] for line in result.stdout.splitlines() if (words := line.split())}
    assert {table: summary[table] for table in SOURCE_TABLES} == dict.fromkeys(SOURCE_TABLES, "loaded") | {
        "edtech.students": "rejected"
    }


def test_json_output_has_one_event_per_line(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    loaded_pipeline.source.execute("ALTER TABLE retail.sales ADD coupon text")
    result = run_meshflow(loaded_pipeline, "load", "--json", "--only", "edtech.students", "--only", "retail.sales")
    assert result.exit_code == 1
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(event["event"], event.get("table")) for event in events] == [
        ("rejected", "edtech.students"),
        ("new_column", "retail.sales"),
        ("started", "retail.sales"),
        ("loaded", "retail.sales"),
    ]


def test_an_error_keeps_text_in_brackets(loaded_pipeline: LoadPipeline) -> None:
    """Otherwise rich, which prints it, would parse the text as a style."""
    loaded_pipeline.source.execute('CREATE TYPE retail."[bold]" AS ENUM ()')
    loaded_pipeline.source.execute('ALTER TABLE retail.sales ADD "[red]" text, DROP quantity')
    loaded_pipeline.source.execute('ALTER TABLE retail.sales ADD quantity retail."[bold]"')
    result = run_meshflow(loaded_pipeline, "load", "--only", "retail.sales")
    assert 'column quantity is retail."[bold]" in the source' in error_line(result.stderr)
    loaded_pipeline.source.execute("ALTER TABLE retail.sales DROP quantity, ADD quantity integer")
    result = run_meshflow(loaded_pipeline, "load", "--only", "retail.sales")
    assert "retail.sales has a new column, [red] (text)" in result.stderr


def test_a_job_of_github_has_the_tables_that_were_not_loaded_and_why(
    loaded_pipeline: LoadPipeline, tmp_path: Path
) -> None:
    loaded_pipeline.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    output = tmp_path / "output"
    assert run_meshflow(loaded_pipeline, "load", GITHUB_OUTPUT=str(output)).exit_code == 1
    name, _, reason = output.read_text().splitlines()[1:4]
    assert name == "Not loaded: `edtech.students`"
    assert "no primary key" in reason
    assert "docs/runbooks/stuck-load.md" in reason
    unreachable = {"MESHFLOW_LOADER_URL": "postgresql://a@127.0.0.1:1/a", "GITHUB_OUTPUT": str(output)}
    output.unlink()
    assert run_meshflow(loaded_pipeline, "load", **unreachable).exit_code == 1
    text = output.read_text()
    assert text.splitlines()[1] == "Not loaded: `all tables`"
    assert "127.0.0.1" not in text


def test_no_row_is_loaded_if_the_table_is_rejected_after_the_first_of_many(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows have 25 MB, several batches of 4 MB."""
    monkeypatch.setattr(rejections, "MAX_REJECTED", 0)
    loaded_pipeline.source.execute("ALTER TABLE retail.sales DROP CONSTRAINT sales_price_check")
    loaded_pipeline.source.execute(
        "INSERT INTO retail.sales (order_id, product_id, city, price) "
        "SELECT id, 1, repeat(md5(id::text), 4000), CASE WHEN id = 9999 THEN 'NaN'::numeric ELSE 1 END "
        "FROM generate_series(9800, 9999) AS id"
    )
    before = loaded_pipeline.query("FROM retail.sales ORDER BY ALL")
    recorded = loaded_pipeline.load("retail.sales")
    assert list(recorded.rejections) == ["retail.sales"]
    assert loaded_pipeline.query("FROM retail.sales ORDER BY ALL") == before

    loaded_pipeline.source.execute("UPDATE retail.sales SET price = 0 WHERE order_id = 9999")
    assert loaded_pipeline.load("retail.sales").complete
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")


def test_a_table_that_was_dropped_from_raw_is_loaded_again(loaded_pipeline: LoadPipeline) -> None:
    for statement in ("DROP TABLE edtech.courses", "ALTER TABLE retail.sales DROP COLUMN quantity"):
        with closing(duckdb.connect(str(loaded_pipeline.raw))) as connection:
            connection.execute(statement)
        loaded_pipeline.load()
    for rows in ("course_id, course_name FROM edtech.courses", "order_id, quantity FROM retail.sales"):
        assert loaded_pipeline.query(f"SELECT {rows}") == loaded_pipeline.source.execute(f"SELECT {rows}")


def fail_to_write(table: str, patch: pytest.MonkeyPatch) -> None:
    """Make the destination fail when `table` is written."""
    write = Destination.write

    def failing(self: Destination, written: Table, *arguments: Any, **options: Any) -> None:
        if str(written) == table:
            raise click.ClickException("RAW is lost")
        write(self, written, *arguments, **options)

    patch.setattr(Destination, "write", failing)


def test_a_rejected_table_has_one_row_in_the_load_log_although_the_load_fails_later(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_pipeline.source.execute("ALTER TABLE edtech.courses RENAME COLUMN credits TO points")
    fail_to_write("retail.sales", monkeypatch)
    with pytest.raises(click.ClickException, match="RAW is lost"):
        loaded_pipeline.load()
    newest = "FROM loader.loads WHERE started_at = (SELECT MAX(started_at) FROM loader.loads)"
    assert loaded_pipeline.query(f"SELECT table_name, status {newest} ORDER BY table_name") == [
        ("courses", "rejected"),
        ("enrollments", "finished"),
        ("sales", "failed"),
        ("students", "finished"),
    ]


def test_after_a_failure_only_what_may_have_changed_is_read_again(loaded_pipeline: LoadPipeline) -> None:
    """A table without a key would be replaced, and its models would process each row again."""
    loaded_pipeline.source.execute("CREATE TABLE retail.prices (price integer)")
    loaded_pipeline.source.execute("INSERT INTO retail.prices VALUES (1), (2)")
    loaded_pipeline.source.execute("GRANT SELECT ON retail.prices TO loader")
    add_contract(loaded_pipeline, "retail.prices", None, {"price": "INT"})
    loaded_pipeline.load()
    before = loaded_pipeline.query("SELECT _loaded_at FROM retail.prices")
    with pytest.MonkeyPatch.context() as patch:
        fail_to_write("edtech.courses", patch)
        with pytest.raises(click.ClickException, match="RAW is lost"):
            loaded_pipeline.load(full=True)
    cursors = loaded_pipeline.load().cursors
    assert "all" not in {cursors["edtech.courses"].name, cursors["retail.sales"].name}
    assert loaded_pipeline.query("SELECT _loaded_at FROM retail.prices") == before
