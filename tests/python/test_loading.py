"""`meshflow load` from a real PostgreSQL to a real DuckDB: exact values, late commits, one load at a time."""

import errno
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import duckdb
import psycopg
import pytest
from dlt.pipeline.pipeline import Pipeline as DltPipeline
from loads import (
    SOURCE_TABLES,
    LoadPipeline,
    RecordingReporter,
    connect_as_superuser,
    error_line,
    frozen_load,
    insert,
    run_meshflow,
    without_time_cursor,
)
from psycopg import sql
from sources import SourceDatabase

from meshflow.loading import reader
from meshflow.loading.contract import contract
from meshflow.loading.load_log import Load, LoadLog
from meshflow.loading.reader import Cursor
from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)

TEXTS = [
    None, "", " ", "NULL", r"\N", r"back\slash\\", 'double "quotes"', "single 'quotes' ''", "new\nline", "\r\n", "\t",
    "a,b;c|d", "Zoë Ångström", "日本語 עברית العربية", "👩🏽‍🎓", "e\u0301", "\ufeffmark", "\u0001\u007f\u200b",
    "%s {} $1 --", "x" * 1_000_000,
]  # fmt: skip

DAYS = [None, date(1, 1, 1), date(1899, 12, 31), date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date.max]

TIMESTAMPS = [
    None,
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 1, 2, 3, 4, tzinfo=UTC),
    datetime(2300, 1, 1, 0, 0, 0, 1, tzinfo=UTC),  # beyond nanoseconds in 64 bits
    datetime.max.replace(tzinfo=UTC),
]

MONEY = [None, *map(Decimal, ("0", "0.01", "-0.01", "0.10", "19.99", "9999999999999999.99", "-9999999999999999.99"))]

DISCOUNTS = [None, *map(Decimal, ("0", "0.0001", "0.1", "0.3333", "1", "99999.9999", "-99999.9999"))]


def cycle(values: list, count: int) -> list:
    return [values[number % len(values)] for number in range(count)]


def test_a_first_load_copies_every_value_exactly(pipeline: LoadPipeline) -> None:
    texts = [
        {"first_name": text, "last_name": "Ada", "email": text, "date_of_birth": day, "deleted_at": time}
        for text, day, time in zip(TEXTS, cycle(DAYS, 20), cycle(TIMESTAMPS, 20), strict=True)
    ]
    insert(pipeline.source, "edtech.students", texts)
    integers = [None, 0, 1, -1, 2**31 - 1, -(2**31)]
    insert(
        pipeline.source,
        "edtech.courses",
        [{"credits": number, "start_date": day} for number, day in zip(integers, cycle(DAYS, 6), strict=True)],
    )
    insert(pipeline.source, "edtech.enrollments", [{"enrollment_id": -(2**63)}, {"enrollment_id": 2**63 - 1}])
    sales = [
        {
            "order_id": order,
            "product_id": -order,
            "price": price,
            "discount": discount,
            "shipping_cost": price,
            "purchased_at": at,
        }
        for order, (price, discount, at) in enumerate(zip(MONEY, DISCOUNTS, cycle(TIMESTAMPS, 8), strict=True))
    ]
    insert(pipeline.source, "retail.sales", sales)

    recorded = pipeline.load()

    assert recorded.complete
    for table in SOURCE_TABLES:
        assert pipeline.in_raw(table) == pipeline.in_source(table), table
        assert set(pipeline.loaded_at(table).values()) == {recorded.started_at}
    assert [text for (text,) in pipeline.query("SELECT first_name FROM edtech.students ORDER BY student_id")] == TEXTS
    assert pipeline.query("SELECT price, discount, purchased_at FROM retail.sales ORDER BY order_id") == [
        (sale["price"], sale["discount"], sale["purchased_at"] and sale["purchased_at"].replace(tzinfo=None))
        for sale in sales
    ]


def test_timestamps_are_loaded_as_utc_for_any_time_zone_of_writer_and_database(pipeline: LoadPipeline) -> None:
    zone = sql.SQL("ALTER DATABASE {} SET timezone = 'America/New_York'").format(
        sql.Identifier(pipeline.source.database)
    )
    with connect_as_superuser(pipeline.source) as connection:
        connection.execute(zone)
    with psycopg.connect(pipeline.source.url, options="-c timezone=Asia/Kolkata") as connection:
        connection.execute(
            "INSERT INTO retail.sales (order_id, product_id, purchased_at) VALUES (1, 1, '2026-11-01 05:30:00.123456')"
        )
    before = datetime.now(UTC).replace(tzinfo=None)
    pipeline.load("retail.sales")
    ((purchased_at, updated_at, loaded_at),) = pipeline.query(
        "SELECT purchased_at, updated_at, _loaded_at FROM retail.sales"
    )
    assert purchased_at == datetime(2026, 11, 1, 0, 0, 0, 123_456)
    assert before - timedelta(hours=1) < updated_at <= before <= loaded_at


def test_empty_tables_get_the_contracts_columns_and_types(pipeline: LoadPipeline) -> None:
    assert pipeline.load().complete
    for table in contract().values():
        with duckdb.connect() as memory:
            columns = ", ".join(f"{column.name} {column.type.sql('duckdb')}" for column in table.columns)
            expected = memory.execute(f"CREATE TABLE expected ({columns})").execute("DESCRIBE expected").fetchall()
        found = pipeline.query(f"DESCRIBE {table}")
        assert [(name, type_) for name, type_, *_ in found] == [(name, type_) for name, type_, *_ in expected]
    assert [(source, table, rows) for source, table, *_, rows in pipeline.load_log()] == [
        (*table.split("."), 0) for table in SOURCE_TABLES
    ]


def test_the_next_load_merges_new_and_changed_rows_by_key_and_keeps_the_others(loaded_pipeline: LoadPipeline) -> None:
    (first,) = set(loaded_pipeline.loaded_at("edtech.students").values())
    loaded_pipeline.source.execute("UPDATE edtech.students SET last_name = 'Lovelace' WHERE student_id = 1")
    loaded_pipeline.source.execute("UPDATE edtech.students SET deleted_at = now() WHERE student_id = 2")
    loaded_pipeline.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    loaded_pipeline.source.execute("UPDATE retail.sales SET quantity = 7 WHERE (order_id, product_id) = (1, 11)")

    recorded = loaded_pipeline.load("edtech.students", "retail.sales")

    assert {table: load.rows for table, load in recorded.loads.items()} == {"edtech.students": 3, "retail.sales": 1}
    assert loaded_pipeline.in_raw("edtech.students") == loaded_pipeline.in_source("edtech.students")
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")
    second = recorded.started_at
    assert loaded_pipeline.loaded_at("edtech.students") == {1: second, 2: second, 3: first, 4: second}
    sales = loaded_pipeline.query("SELECT order_id, product_id, _loaded_at FROM retail.sales ORDER BY ALL")
    assert [at.replace(tzinfo=UTC) for *_, at in sales] == [first, second, first]


def test_the_load_log_has_one_row_per_table_and_load(loaded_pipeline: LoadPipeline) -> None:
    first = loaded_pipeline.load_log()
    assert [(source, table, rows) for source, table, *_, rows in first] == [
        ("edtech", "students", 3), ("edtech", "courses", 2), ("edtech", "enrollments", 2), ("retail", "sales", 3),
    ]  # fmt: skip
    starts = {started_at.replace(tzinfo=UTC) for _, _, started_at, *_ in first}
    assert starts == set(loaded_pipeline.loaded_at("edtech.students").values())
    loaded_pipeline.source.execute("INSERT INTO edtech.courses (course_name) VALUES ('Algebra')")

    recorded = loaded_pipeline.load("edtech.courses")

    *before, (source, table, started_at, finished_at, rows_since, *snapshot, rows) = loaded_pipeline.load_log()
    assert before == first
    assert (source, table, rows) == ("edtech", "courses", 1)
    assert started_at.replace(tzinfo=UTC) == recorded.started_at
    storage, files, trigger, xmin, next_id, taken_at = snapshot
    first_xmin, first_next_id, first_taken_at = first[1][8:11]
    assert rows_since == f"updated_at {first_taken_at.replace(tzinfo=UTC) - reader.LAG}"
    assert [storage, files, trigger] == list(first[1][5:8])
    assert first_xmin <= first_next_id <= xmin <= next_id
    assert first_taken_at < started_at < taken_at < finished_at


def test_only_the_named_tables_are_loaded(pipeline: LoadPipeline) -> None:
    result = run_meshflow(pipeline, "load", "--only", "retail.sales", "--only", "edtech.courses")
    assert result.exit_code == 0, result.output
    assert sorted(f"{source}.{table}" for source, table, *_ in pipeline.load_log()) == [
        "edtech.courses",
        "retail.sales",
    ]
    tables = {f"{schema}.{table}" for (schema, table) in pipeline.query("SELECT schema, name FROM (SHOW ALL TABLES)")}
    assert tables & set(SOURCE_TABLES) == {"edtech.courses", "retail.sales"}


def test_a_full_refresh_merges_all_rows_by_key(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("UPDATE edtech.students SET last_name = 'Noether' WHERE student_id = 3")

    recorded = loaded_pipeline.load("edtech.students", full=True)

    assert recorded.cursors == {"edtech.students": Cursor()}
    assert recorded.loads["edtech.students"].rows == 3
    assert loaded_pipeline.in_raw("edtech.students") == loaded_pipeline.in_source("edtech.students")
    assert loaded_pipeline.loaded_at("edtech.students") == dict.fromkeys([1, 2, 3], recorded.started_at)


def test_start_times_increase_even_if_the_clock_goes_back(loaded_pipeline: LoadPipeline) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    assert loaded_pipeline.load("edtech.courses", at=future).started_at == future
    loaded_pipeline.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    recorded = loaded_pipeline.load("edtech.students")
    assert recorded.started_at == future + timedelta(microseconds=1)
    assert loaded_pipeline.loaded_at("edtech.students")[4] == recorded.started_at


def test_all_tables_are_read_in_one_snapshot(loaded_pipeline: LoadPipeline) -> None:
    def enroll(table: str) -> None:
        if table == "edtech.enrollments":  # the students are loaded
            with psycopg.connect(loaded_pipeline.source.url) as connection:
                connection.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
                connection.execute("INSERT INTO edtech.enrollments (student_id, course_id) VALUES (4, 1)")

    before = loaded_pipeline.in_raw("edtech.enrollments")
    recorded = loaded_pipeline.load(reporter=RecordingReporter(on_start=enroll))
    assert list(recorded.loads) == list(SOURCE_TABLES)
    assert loaded_pipeline.in_raw("edtech.enrollments") == before, "an enrollment was loaded without its student"
    loaded_pipeline.load()
    for table in SOURCE_TABLES:
        assert loaded_pipeline.in_raw(table) == loaded_pipeline.in_source(table)


def test_a_load_reads_the_rows_that_the_snapshot_of_the_previous_one_has_missed(by_each_cursor: LoadPipeline) -> None:
    first = by_each_cursor.load("edtech.students").loads["edtech.students"]
    by_each_cursor.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")

    second = by_each_cursor.load("edtech.students")

    cursor = second.cursors["edtech.students"]
    assert cursor in {Cursor(xid=first.snapshot.xmin), Cursor(time=first.snapshot.taken_at - reader.LAG)}
    assert timedelta(0) < reader.LAG <= timedelta(minutes=1)
    assert second.loads["edtech.students"].rows == 1


def test_a_row_is_loaded_after_its_commit_however_many_loads_precede_it(
    by_each_cursor: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshflow.loading.load.LAG", timedelta(0))  # a lag would hide a missed row
    with psycopg.connect(by_each_cursor.source.url) as late:
        late.execute("INSERT INTO edtech.students (first_name) VALUES ('late')")
        for name in ("one", "two", "three"):
            insert(by_each_cursor.source, "edtech.students", [{"first_name": name}])
            by_each_cursor.load("edtech.students")
            assert by_each_cursor.in_raw("edtech.students") == by_each_cursor.in_source("edtech.students")
            assert name in str(by_each_cursor.in_raw("edtech.students"))

    after = by_each_cursor.load("edtech.students")

    assert "late" in str(by_each_cursor.in_raw("edtech.students"))
    assert by_each_cursor.in_raw("edtech.students") == by_each_cursor.in_source("edtech.students")
    assert by_each_cursor.loaded_at("edtech.students")[4] == after.started_at
    by_each_cursor.load("edtech.students")
    assert by_each_cursor.load("edtech.students").loads["edtech.students"].rows == 0, "the cursor doesn't advance"


def test_a_correction_that_commits_after_a_load_is_loaded_by_the_next(
    by_each_cursor: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_pipeline = by_each_cursor
    monkeypatch.setattr("meshflow.loading.load.LAG", timedelta(0))
    with psycopg.connect(loaded_pipeline.source.url) as late:
        late.execute("UPDATE retail.sales SET price = 1 WHERE order_id = 1")
        late.execute("SAVEPOINT here")
        late.execute("UPDATE retail.sales SET price = 2 WHERE order_id = 2")
        loaded_pipeline.load("retail.sales")
    loaded_pipeline.load("retail.sales")
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")
    assert [price for (price,) in loaded_pipeline.query("SELECT price FROM retail.sales ORDER BY order_id")] == [
        1,
        1,
        2,
    ]


def test_a_second_load_exits_while_the_first_holds_the_lock(loaded_pipeline: LoadPipeline) -> None:
    with frozen_load(loaded_pipeline) as (first, _):
        second = loaded_pipeline.start()
        output, errors = second.communicate()
        assert (second.returncode, output) == (0, "")
        assert f"another load holds the lock, meshflow on {socket.gethostname()}, process {first.pid}" in errors


def test_a_load_that_loses_its_lock_fails(loaded_pipeline: LoadPipeline) -> None:
    holders = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE datname = %s AND locktype = 'advisory' AND granted AND application_name LIKE 'meshflow on %%'"
    )
    with frozen_load(loaded_pipeline) as (process, writer):
        with connect_as_superuser(loaded_pipeline.source) as connection:
            assert connection.execute(holders, [loaded_pipeline.source.database]).fetchall() == [(True,)]
        writer.commit()
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "terminating connection due to administrator command" in error_line(errors)
    assert len(loaded_pipeline.load_log()) == 4


def test_a_load_fails_if_the_source_disconnects_between_two_tables(loaded_pipeline: LoadPipeline) -> None:
    class Terminator(RecordingReporter):
        def finished(self, load: Load) -> None:
            super().finished(load)
            with connect_as_superuser(loaded_pipeline.source) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND usename = 'loader'"
                )

    recorded = Terminator()
    with pytest.raises(click.ClickException, match=r"PostgreSQL at loader@.*: terminating connection"):
        loaded_pipeline.load("edtech.students", "edtech.courses", reporter=recorded)
    assert list(recorded.loads) == ["edtech.students"]
    assert len(loaded_pipeline.load_log()) == 5


def test_rows_of_a_load_that_is_missing_in_the_load_log_are_loaded_again(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    loaded_pipeline.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    monkeypatch.setattr(LoadLog, "finish", die)
    with pytest.raises(KeyboardInterrupt):
        loaded_pipeline.load("edtech.students")
    monkeypatch.undo()
    monkeypatch.chdir(loaded_pipeline.project)
    assert len(loaded_pipeline.loaded_at("edtech.students")) == 4
    recorded = loaded_pipeline.load("edtech.students")
    assert loaded_pipeline.loaded_at("edtech.students")[4] == recorded.started_at, (
        "the row must belong to the interval of the load in the log"
    )
    assert loaded_pipeline.in_raw("edtech.students") == loaded_pipeline.in_source("edtech.students")


def test_rows_that_a_failed_load_has_read_are_read_again(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_pipeline.source.execute("INSERT INTO edtech.students (first_name) VALUES ('deleted before the next load')")
    work, copy = loaded_pipeline.data / "loader", loaded_pipeline.project / "copy"

    def die(*_: object, **__: object) -> None:
        shutil.copytree(work, copy)  # SIGKILL would leave this folder behind
        raise OSError(errno.EIO, "died")

    monkeypatch.setattr("dlt.load.load.Load.run", die)
    with pytest.raises(click.ClickException, match="died"):
        loaded_pipeline.load("edtech.students")
    monkeypatch.undo()
    monkeypatch.chdir(loaded_pipeline.project)
    copy.rename(work)
    assert list(work.glob("**/students.*.parquet")), "the failed load has left no rows on disk"
    loaded_pipeline.source.execute("DELETE FROM edtech.students WHERE student_id = 4")
    loaded_pipeline.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    assert loaded_pipeline.load("edtech.students").complete
    assert loaded_pipeline.in_raw("edtech.students") == loaded_pipeline.in_source("edtech.students")


def test_a_load_that_runs_out_of_memory_retries_without_its_limit(
    pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.source.execute(
        "INSERT INTO edtech.students (first_name, last_name, email) "
        "SELECT md5((3 * i)::text), md5((3 * i + 1)::text), md5((3 * i + 2)::text) FROM generate_series(1, 50000) AS i"
    )
    attempts, load = [], DltPipeline.load

    def counted_load(dlt_pipeline: DltPipeline, *arguments: object, **options: object) -> object:
        attempts.append(dlt_pipeline)
        return load(dlt_pipeline, *arguments, **options)

    monkeypatch.setattr(DltPipeline, "load", counted_load)
    monkeypatch.setattr("meshflow.loading.destination.MEMORY_LIMIT", "1MB")
    assert pipeline.load("edtech.students").complete
    assert len(attempts) == 2, "one megabyte should be too little"
    assert pipeline.in_raw("edtech.students") == pipeline.in_source("edtech.students")


def test_a_failed_load_leaves_no_session_in_the_source(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    loaded_pipeline.source.execute("UPDATE retail.sales SET quantity = 2")
    monkeypatch.setattr("dlt.common.data_writers.buffered.BufferedDataWriter.write_data_item", fail)
    with pytest.raises(click.ClickException, match=r"retail\.sales can't be written to RAW: .*No space left on device"):
        loaded_pipeline.load("retail.sales")
    sessions = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND usename = 'loader'"
    assert loaded_pipeline.source.execute(sessions) == []


def test_a_load_waits_for_the_duckdb_lock_of_another_process(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    program = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, loaded_pipeline.raw], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "open\n"
        recorded = loaded_pipeline.load("edtech.students", reporter=RecordingReporter(on_wait=holder.communicate))
    assert recorded.complete
    assert len(recorded.waits) == 1
    assert f"process {holder.pid}" in recorded.waits[0]
    assert loaded_pipeline.in_raw("edtech.students") == loaded_pipeline.in_source("edtech.students")


@pytest.mark.parametrize("cursor", ["updated_at", "xmin"])
def test_a_prepared_transaction_is_loaded_after_its_commit(
    own_server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cursor: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("meshflow.loading.load.LAG", timedelta(0))
    pipeline = LoadPipeline.new(SourceDatabase.new(own_server), project, tmp_path)
    if cursor == "xmin":
        without_time_cursor(pipeline.source)
    pipeline.load("edtech.students")
    with closing(psycopg.connect(pipeline.source.url)) as writer:
        writer.execute("INSERT INTO edtech.students (first_name) VALUES ('prepared')")
        writer.execute("PREPARE TRANSACTION 'late'")
    for _ in range(2):
        pipeline.load("edtech.students")
    assert pipeline.in_raw("edtech.students") == []
    with closing(psycopg.connect(pipeline.source.url, autocommit=True)) as writer:
        writer.execute("COMMIT PREPARED 'late'")

    recorded = pipeline.load("edtech.students")

    assert cursor in str(recorded.cursors["edtech.students"])
    assert pipeline.in_raw("edtech.students") == pipeline.in_source("edtech.students") != []
    pipeline.load("edtech.students")
    assert pipeline.load("edtech.students").loads["edtech.students"].rows == 0, "the cursor doesn't advance"
