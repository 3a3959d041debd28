"""`meshflow load`, from a real PostgreSQL to a real DuckDB: exact rows, late commits, one load at a time."""

import shutil
import socket
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import click
import duckdb
import psycopg
import pytest
from dlt.pipeline.pipeline import Pipeline
from loads import ALL, LoadedSource, Told, administrator, backdate, frozen_load, insert, meshflow, the_error
from psycopg import sql
from sources import Sources, new_database

from meshflow.loading import reader
from meshflow.loading.contract import contract
from meshflow.loading.load_log import Load, LoadLog
from meshflow.source.schema import admit_loader, install
from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)

TEXTS = [
    None, "", " ", "NULL", r"\N", r"back\slash\\", 'double "quotes"', "single 'quotes' ''", "new\nline", "\r\n", "\t",
    "a,b;c|d", "Zoë Ångström", "日本語 עברית العربية", "👩🏽‍🎓", "e\u0301", "\ufeffmark", "\u0001\u007f\u200b",
    "%s {} $1 --", "x" * 1_000_000,
]  # fmt: skip


DAYS = [None, date(1, 1, 1), date(1899, 12, 31), date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date.max]


MOMENTS = [
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


def test_a_first_load_loads_every_value_exactly(loading: LoadedSource) -> None:
    texts = [
        {"first_name": text, "last_name": "Ada", "email": text, "date_of_birth": day, "deleted_at": moment}
        for text, day, moment in zip(TEXTS, cycle(DAYS, 20), cycle(MOMENTS, 20), strict=True)
    ]
    insert(loading.source, "edtech.students", texts)
    integers = [None, 0, 1, -1, 2**31 - 1, -(2**31)]
    insert(
        loading.source,
        "edtech.courses",
        [{"credits": number, "start_date": day} for number, day in zip(integers, cycle(DAYS, 6), strict=True)],
    )
    insert(loading.source, "edtech.enrollments", [{"enrollment_id": -(2**63)}, {"enrollment_id": 2**63 - 1}])
    sales = [
        {
            "order_id": order,
            "product_id": -order,
            "price": price,
            "discount": discount,
            "shipping_cost": price,
            "purchased_at": at,
        }
        for order, (price, discount, at) in enumerate(zip(MONEY, DISCOUNTS, cycle(MOMENTS, 8), strict=True))
    ]
    insert(loading.source, "retail.sales", sales)

    told = loading.load()

    assert told.complete
    for table in ALL:
        assert loading.in_raw(table) == loading.in_source(table), table
        assert set(loading.loaded_at(table).values()) == {told.started_at}
    assert [text for (text,) in loading.query("SELECT first_name FROM edtech.students ORDER BY student_id")] == TEXTS
    assert loading.query("SELECT price, discount, purchased_at FROM retail.sales ORDER BY order_id") == [
        (sale["price"], sale["discount"], sale["purchased_at"] and sale["purchased_at"].replace(tzinfo=None))
        for sale in sales
    ]


def test_moments_load_as_utc_whatever_the_zones_of_writer_and_database(loading: LoadedSource) -> None:
    zone = sql.SQL("ALTER DATABASE {} SET timezone = 'America/New_York'").format(
        sql.Identifier(loading.source.database)
    )
    with administrator(loading.source) as connection:
        connection.execute(zone)
    with psycopg.connect(loading.source.url, options="-c timezone=Asia/Kolkata") as connection:
        connection.execute(
            "INSERT INTO retail.sales (order_id, product_id, purchased_at) VALUES (1, 1, '2026-11-01 05:30:00.123456')"
        )
    before = datetime.now(UTC).replace(tzinfo=None)
    loading.load("retail.sales")
    ((purchased_at, updated_at, loaded_at),) = loading.query(
        "SELECT purchased_at, updated_at, _loaded_at FROM retail.sales"
    )
    assert purchased_at == datetime(2026, 11, 1, 0, 0, 0, 123_456)
    assert before - timedelta(hours=1) < updated_at <= before <= loaded_at


def test_tables_without_rows_load_with_the_contracts_columns_and_types(loading: LoadedSource) -> None:
    assert loading.load().complete
    for table in contract().values():
        with duckdb.connect() as memory:
            columns = ", ".join(f"{column.name} {column.type.sql('duckdb')}" for column in table.columns)
            expected = memory.execute(f"CREATE TABLE expected ({columns})").execute("DESCRIBE expected").fetchall()
        found = loading.query(f"DESCRIBE {table}")
        assert [(name, type_) for name, type_, *_ in found] == [(name, type_) for name, type_, *_ in expected]
    assert [(source, table, rows) for source, table, *_, rows in loading.load_log()] == [
        (*table.split("."), 0) for table in ALL
    ]


def test_the_next_load_merges_what_is_new_by_key_and_leaves_the_rest(settled: LoadedSource) -> None:
    (first,) = set(settled.loaded_at("edtech.students").values())
    settled.source.execute("UPDATE edtech.students SET last_name = 'Lovelace' WHERE student_id = 1")
    settled.source.execute("UPDATE edtech.students SET deleted_at = now() WHERE student_id = 2")
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    settled.source.execute("UPDATE retail.sales SET quantity = 7 WHERE (order_id, product_id) = (1, 11)")

    told = settled.load("edtech.students", "retail.sales")

    assert {table: load.rows for table, load in told.loads.items()} == {"edtech.students": 3, "retail.sales": 1}
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")
    second = told.started_at
    assert settled.loaded_at("edtech.students") == {1: second, 2: second, 3: first, 4: second}
    stamps = settled.query("SELECT order_id, product_id, _loaded_at FROM retail.sales ORDER BY ALL")
    assert [at.replace(tzinfo=UTC) for *_, at in stamps] == [first, second, first]


def test_the_load_log_has_a_row_for_every_table_and_load(settled: LoadedSource) -> None:
    first = settled.load_log()
    assert [(source, table, rows) for source, table, *_, rows in first] == [
        ("edtech", "students", 3), ("edtech", "courses", 2), ("edtech", "enrollments", 2), ("retail", "sales", 3),
    ]  # fmt: skip
    starts = {started_at.replace(tzinfo=UTC) for _, _, started_at, *_ in first}
    assert starts == set(settled.loaded_at("edtech.students").values())
    settled.source.execute("INSERT INTO edtech.courses (course_name) VALUES ('Algebra')")

    told = settled.load("edtech.courses")

    *before, (source, table, started_at, finished_at, cursor_start, watermark, rows) = settled.load_log()
    assert before == first
    assert (source, table, rows) == ("edtech", "courses", 1)
    assert started_at.replace(tzinfo=UTC) == told.started_at
    assert cursor_start == first[1][5], "it goes on where the first one left off"
    assert cursor_start < watermark < started_at < finished_at


def test_only_the_tables_that_are_named_load(loading: LoadedSource) -> None:
    result = meshflow(loading, "load", "--only", "retail.sales", "--only", "edtech.courses")
    assert result.exit_code == 0, result.output
    assert sorted(f"{source}.{table}" for source, table, *_ in loading.load_log()) == ["edtech.courses", "retail.sales"]
    tables = {f"{schema}.{table}" for (schema, table) in loading.query("SELECT schema, name FROM (SHOW ALL TABLES)")}
    assert tables & set(ALL) == {"edtech.courses", "retail.sales"}


def test_a_full_refresh_reads_everything_again_by_key(settled: LoadedSource) -> None:
    settled.source.execute("UPDATE edtech.students SET last_name = 'Noether' WHERE student_id = 3")
    backdate(settled.source, "edtech.students")
    assert settled.load("edtech.students").loads["edtech.students"].rows == 0, "updated_at doesn't show the change"

    told = settled.load("edtech.students", full=True)

    assert told.cursor_start == {"edtech.students": None}
    assert told.loads["edtech.students"].rows == 3
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
    assert settled.loaded_at("edtech.students") == dict.fromkeys([1, 2, 3], told.started_at)


def test_starts_never_run_backwards_even_if_the_clock_does(settled: LoadedSource) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    assert settled.load("edtech.courses", at=future).started_at == future
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    told = settled.load("edtech.students")
    assert told.started_at == future + timedelta(microseconds=1)
    assert settled.loaded_at("edtech.students")[4] == told.started_at


def test_all_tables_are_read_as_they_were_at_one_moment(settled: LoadedSource) -> None:
    def enroll(table: str) -> None:
        if table == "edtech.enrollments":  # the students have loaded
            with psycopg.connect(settled.source.url) as connection:
                connection.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
                connection.execute("INSERT INTO edtech.enrollments (student_id, course_id) VALUES (4, 1)")

    before = settled.in_raw("edtech.enrollments")
    told = settled.load(told=Told(on_start=enroll))
    assert list(told.loads) == list(ALL)
    assert settled.in_raw("edtech.enrollments") == before, "an enrollment whose student hasn't loaded"
    settled.load()
    for table in ALL:
        assert settled.in_raw(table) == settled.in_source(table)


def test_once_nothing_is_open_a_load_reads_back_a_little_and_no_more(settled: LoadedSource) -> None:
    first = settled.load("edtech.students")
    load = first.loads["edtech.students"]
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")

    second = settled.load("edtech.students")

    assert load.started_at <= second.cursor_start["edtech.students"] + reader.LAG <= load.finished_at
    assert timedelta(0) < reader.LAG <= timedelta(minutes=1)
    assert second.loads["edtech.students"].rows == 1


def test_a_row_loads_once_its_transaction_commits_however_many_loads_that_takes(
    settled: LoadedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LAG", timedelta(0))  # which would hide a row missed
    with psycopg.connect(settled.source.url) as late:
        late.execute("INSERT INTO edtech.students (first_name) VALUES ('late')")
        for name in ("one", "two", "three"):
            insert(settled.source, "edtech.students", [{"first_name": name}])
            during = settled.load("edtech.students")
            assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
            assert name in str(settled.in_raw("edtech.students"))

    after = settled.load("edtech.students")

    assert "late" in str(settled.in_raw("edtech.students"))
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
    assert settled.loaded_at("edtech.students")[4] == after.started_at
    assert settled.load("edtech.students").cursor_start["edtech.students"] > during.started_at, (
        "nothing is read for ever"
    )


def test_a_correction_that_commits_after_a_load_loads_with_the_next(
    settled: LoadedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LAG", timedelta(0))
    with psycopg.connect(settled.source.url) as late:
        late.execute("UPDATE retail.sales SET price = 1 WHERE order_id = 1")
        late.execute("SAVEPOINT here")
        late.execute("UPDATE retail.sales SET price = 2 WHERE order_id = 2")
        settled.load("retail.sales")
    settled.load("retail.sales")
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")
    assert [price for (price,) in settled.query("SELECT price FROM retail.sales ORDER BY order_id")] == [1, 1, 2]


def test_a_writer_hidden_from_the_owner_makes_loads_read_everything(
    postgres: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "LAG", timedelta(0))
    blind, hidden = f"blind_{uuid4().hex[:8]}", f"hidden_{uuid4().hex[:8]}"
    with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(blind)))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(hidden)))
    loading = LoadedSource.new(Sources(postgres, new_database(postgres, blind)), project, tmp_path)
    address = f"127.0.0.1:{postgres.port}/{loading.source.database}"
    with closing(psycopg.connect(f"postgresql://{blind}:p@{address}")) as owner:
        install(owner)
        admit_loader(owner, "loader")
        with owner.transaction():
            owner.execute(sql.SQL("GRANT USAGE ON SCHEMA edtech TO {}").format(sql.Identifier(hidden)))
            owner.execute(sql.SQL("GRANT SELECT, INSERT ON edtech.students TO {}").format(sql.Identifier(hidden)))
            owner.execute("INSERT INTO edtech.students (first_name) VALUES ('first')")
    loading.load("edtech.students")
    with psycopg.connect(f"postgresql://{hidden}:p@{address}") as late:
        late.execute("INSERT INTO edtech.students (first_name) VALUES ('late')")
        during = loading.load("edtech.students")

    after = loading.load("edtech.students")

    assert during.loads["edtech.students"].watermark is None
    assert after.cursor_start == {"edtech.students": None}
    assert {name for (name,) in loading.query("SELECT first_name FROM edtech.students")} == {"first", "late"}
    assert loading.load("edtech.students").cursor_start["edtech.students"] > during.started_at, (
        "nothing is open any more"
    )


def test_short_transactions_beside_loads_do_not_make_them_read_everything(source: Sources) -> None:
    """A transaction that ends while the function looks at locks, then at sessions, can be told from a hidden one."""
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(source.url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO edtech.students (first_name) VALUES ('short')")

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        with closing(psycopg.connect(source.loader_url, autocommit=True)) as connection:
            answers = [connection.execute("SELECT meshflow.oldest_write()::text").fetchone() for _ in range(2000)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert ("-infinity",) not in answers


def test_a_second_load_leaves_everything_to_the_first(settled: LoadedSource) -> None:
    with frozen_load(settled, 3) as (first, _):
        second = settled.start()
        output, errors = second.communicate()
        assert (second.returncode, output) == (0, "")
        assert f"another load holds the lock, meshflow on {socket.gethostname()}, process {first.pid}" in errors


def test_a_load_without_its_lock_does_not_finish(settled: LoadedSource) -> None:
    holders = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE datname = %s AND locktype = 'advisory' AND granted AND application_name LIKE 'meshflow on %%'"
    )
    with frozen_load(settled, 3) as (process, writer):
        with administrator(settled.source) as connection:
            assert connection.execute(holders, [settled.source.database]).fetchall() == [(True,)]
        writer.execute("SELECT pg_advisory_unlock_all()")
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "terminating connection due to administrator command" in the_error(errors)
    assert len(settled.load_log()) == 4


def test_a_load_says_so_if_the_source_goes_between_two_tables(settled: LoadedSource) -> None:
    class Terminator(Told):
        def finished(self, load: Load) -> None:
            super().finished(load)
            with administrator(settled.source) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND usename = 'loader'"
                )

    told = Terminator()
    with pytest.raises(click.ClickException, match=r"PostgreSQL at loader@.*: terminating connection"):
        settled.load("edtech.students", "edtech.courses", told=told)
    assert list(told.loads) == ["edtech.students"]
    assert len(settled.load_log()) == 5


def test_rows_whose_load_never_came_into_the_load_log_load_again(
    settled: LoadedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    monkeypatch.setattr(LoadLog, "record", die)
    with pytest.raises(KeyboardInterrupt):
        settled.load("edtech.students")
    monkeypatch.undo()
    monkeypatch.chdir(settled.project)
    assert len(settled.loaded_at("edtech.students")) == 4
    told = settled.load("edtech.students")
    assert settled.loaded_at("edtech.students")[4] == told.started_at, "an interval that was open when the row came"
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")


def test_rows_that_a_load_had_read_when_it_died_are_read_anew(
    settled: LoadedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('gone by the next load')")
    work, aside = settled.data / "loader", settled.project / "aside"

    def die(*_: object, **__: object) -> None:
        shutil.copytree(work, aside)  # which SIGKILL would leave in its place
        raise OSError("died")

    monkeypatch.setattr("dlt.load.load.Load.run", die)
    with pytest.raises(click.ClickException, match="died"):
        settled.load("edtech.students")
    monkeypatch.undo()
    monkeypatch.chdir(settled.project)
    aside.rename(work)
    assert list(work.glob("**/students.*.parquet")), "the rows are on disk, ready to be written"
    settled.source.execute("DELETE FROM edtech.students WHERE student_id = 4")
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    assert settled.load("edtech.students").complete
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")


def test_what_needs_more_memory_than_a_load_begins_with_has_it(
    loading: LoadedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading.source.execute(
        "INSERT INTO edtech.students (first_name, last_name, email) "
        "SELECT md5((3 * i)::text), md5((3 * i + 1)::text), md5((3 * i + 2)::text) FROM generate_series(1, 50000) AS i"
    )
    tries, load = [], Pipeline.load

    def counted(pipeline: Pipeline, *arguments: object, **options: object) -> object:
        tries.append(pipeline)
        return load(pipeline, *arguments, **options)

    monkeypatch.setattr(Pipeline, "load", counted)
    monkeypatch.setattr("meshflow.loading.destination.MEMORY", "1MB")
    assert loading.load("edtech.students").complete
    assert len(tries) == 2, "with a megabyte it can't"
    assert loading.in_raw("edtech.students") == loading.in_source("edtech.students")


def test_a_load_that_fails_keeps_no_session_in_the_source(
    settled: LoadedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    settled.source.execute("UPDATE retail.sales SET quantity = 2")
    monkeypatch.setattr("dlt.common.data_writers.buffered.BufferedDataWriter.write_data_item", fail)
    with pytest.raises(click.ClickException, match=r"retail\.sales can't be written to RAW: No space left on device"):
        settled.load("retail.sales")
    sessions = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND usename = 'loader'"
    assert settled.source.execute(sessions) == []


def test_a_load_waits_for_another_process_to_leave_the_database(settled: LoadedSource) -> None:
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    hold = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, settled.raw], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        told = settled.load("edtech.students", told=Told(on_wait=holder.communicate))
    assert told.complete
    assert len(told.waits) == 1
    assert f"process {holder.pid}" in told.waits[0]
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")


def test_a_prepared_transaction_loads_once_it_commits(
    own_server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "LAG", timedelta(0))
    loading = LoadedSource.new(Sources.new(own_server), project, tmp_path)
    with closing(psycopg.connect(loading.source.url)) as writer:
        writer.execute("INSERT INTO edtech.students (first_name) VALUES ('prepared')")
        writer.execute("PREPARE TRANSACTION 'late'")
    during = loading.load("edtech.students")
    assert loading.in_raw("edtech.students") == []
    assert during.loads["edtech.students"].watermark is None
    with closing(psycopg.connect(loading.source.url, autocommit=True)) as writer:
        writer.execute("COMMIT PREPARED 'late'")

    loading.load("edtech.students")

    assert loading.in_raw("edtech.students") == loading.in_source("edtech.students") != []
    assert loading.load("edtech.students").cursor_start["edtech.students"] > during.started_at, "none is open any more"
