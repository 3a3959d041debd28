"""Which rows a load reads: all, those since a transaction, or those since a time that is to be trusted."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import psycopg
import pytest
from loads import LoadPipeline, RecordingReporter, add_contract, error_line, insert, run_meshflow, without_time_cursor
from sharing import new_server
from sources import SourceDatabase

from meshflow.loading.reader import Cursor, Reader
from meshflow.postgres import unverified
from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)


def cursor_of(pipeline: LoadPipeline, table: str = "edtech.students") -> str:
    """The cursor that the next load of `table` uses. It makes RAW equal the source."""
    recorded = pipeline.load(table)
    assert recorded.complete, recorded.rejections
    assert pipeline.in_raw(table) == pipeline.in_source(table)
    return recorded.cursors[table].name


def change_load_log(pipeline: LoadPipeline, change: str) -> None:
    with duckdb.connect(str(pipeline.raw)) as raw:
        raw.execute(f"UPDATE loader.loads SET {change}")


def test_a_table_with_the_trigger_and_an_index_is_read_by_updated_at(loaded_pipeline: LoadPipeline) -> None:
    assert cursor_of(loaded_pipeline) == "updated_at"
    without_time_cursor(loaded_pipeline.source)
    assert cursor_of(loaded_pipeline) == "xmin"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE edtech.students ENABLE TRIGGER set_updated_at",  # off in a replica's session
        "CREATE TRIGGER zz BEFORE UPDATE ON edtech.students FOR EACH ROW EXECUTE FUNCTION meshflow.set_created_at()",
        "ALTER TABLE edtech.students ALTER updated_at DROP NOT NULL",
        "DROP TRIGGER set_updated_at ON edtech.students",
        "ALTER FUNCTION meshflow.set_updated_at() SET search_path = public",
        """
        CREATE OR REPLACE FUNCTION meshflow.set_updated_at() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.updated_at := now(); RETURN NEW; END'
        """,
        "DROP INDEX edtech.students_updated_at; CREATE INDEX ON edtech.students (updated_at) WHERE deleted_at IS NULL",
        "DROP INDEX edtech.students_updated_at; CREATE INDEX ON edtech.students USING brin (updated_at)",
        "DROP INDEX edtech.students_updated_at; CREATE INDEX ON edtech.students (email, updated_at)",
    ],
)
def test_updated_at_is_not_trusted_unless_the_database_maintains_it(loaded_pipeline: LoadPipeline, change: str) -> None:
    loaded_pipeline.source.execute(change)
    assert cursor_of(loaded_pipeline) == "xmin"
    assert cursor_of(loaded_pipeline) == "xmin"


def test_updated_at_is_trusted_from_the_second_load_with_the_same_trigger_on(loaded_pipeline: LoadPipeline) -> None:
    """In between, the trigger may have been off."""
    for state in ("DISABLE", "ENABLE ALWAYS"):
        loaded_pipeline.source.execute(f"ALTER TABLE edtech.students {state} TRIGGER set_updated_at")
    assert cursor_of(loaded_pipeline) == "xmin"
    assert cursor_of(loaded_pipeline) == "updated_at"


def test_a_trigger_that_was_the_last_one_until_it_was_dropped_is_not_forgotten(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute(
        "CREATE FUNCTION edtech.start() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.updated_at := now(); RETURN NEW; END'"
    )
    loaded_pipeline.source.execute(
        "CREATE TRIGGER zz BEFORE UPDATE ON edtech.students FOR EACH ROW EXECUTE FUNCTION edtech.start()"
    )
    with psycopg.connect(loaded_pipeline.source.url) as late:
        late.execute("SELECT 1")  # its now()
        assert cursor_of(loaded_pipeline) == "xmin"
        late.execute("UPDATE edtech.students SET email = 'late' WHERE student_id = 1")
    loaded_pipeline.source.execute("DROP TRIGGER zz ON edtech.students")
    assert cursor_of(loaded_pipeline) == "xmin"


def test_a_transaction_that_stays_open_over_many_loads_of_a_quiet_server_is_not_lost(
    by_each_cursor: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshflow.loading.load.LAG", timedelta(0))
    with psycopg.connect(by_each_cursor.source.url) as late:
        late.execute("UPDATE edtech.students SET email = 'late' WHERE student_id = 1")
        for _ in range(3):
            cursor_of(by_each_cursor)
    cursor_of(by_each_cursor)


@pytest.mark.parametrize(
    ("change", "cursor"),
    [
        ("storage = replace(storage, '/', '-')", "all"),  # another server, timeline, database or column
        ("snapshot_next_id = snapshot_next_id + 1000000", "all"),  # a restored database
        ("snapshot_xmin = snapshot_xmin - 2147483648 + 16777216", "all"),  # ids have wrapped around since
        ("snapshot_xmin = snapshot_xmin - 2000000000", "xmin"),
        ("files = '{\"1\": 1}'", "xmin"),  # rewritten
        ("updated_at_trigger = 'another'", "xmin"),
        ("snapshot_taken_at = snapshot_taken_at + INTERVAL 1 DAY", "xmin"),  # the clock has been set back
        ("rows_since = 'all'", "updated_at"),
        ("rows_since = 'all', finished_at = NULL", "all"),
        ("finished_at = NULL", "all"),
    ],
)
def test_what_the_load_log_says_of_the_previous_load_decides(
    loaded_pipeline: LoadPipeline, change: str, cursor: str
) -> None:
    loaded_pipeline.load("edtech.students")
    change_load_log(loaded_pipeline, change)
    assert cursor_of(loaded_pipeline) == cursor


def test_values_changed_by_a_rewrite_are_loaded(by_each_cursor: LoadPipeline) -> None:
    """No trigger fires, and the type stays the same."""
    cursor_of(by_each_cursor, "retail.sales")
    by_each_cursor.source.execute("ALTER TABLE retail.sales ALTER price TYPE numeric(18, 2) USING price * 2")
    assert cursor_of(by_each_cursor, "retail.sales") == "xmin"


def test_a_rewrite_just_before_the_snapshot_is_loaded(
    by_each_cursor: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files have to be those of the snapshot, or neither this load nor the next one would see that they changed."""
    cursor_of(by_each_cursor, "retail.sales")
    find_database = Reader._database  # noqa: SLF001 - it precedes the snapshot

    def rewrite(reader: Reader) -> str:
        by_each_cursor.source.execute("ALTER TABLE retail.sales ALTER price TYPE numeric(18, 2) USING price * 2")
        return find_database(reader)

    monkeypatch.setattr(Reader, "_database", rewrite)
    assert cursor_of(by_each_cursor, "retail.sales") == "xmin"


def partition_sales(source: SourceDatabase) -> None:
    """Make retail.sales a partitioned table with the same rows."""
    source.execute(
        """
        ALTER TABLE retail.sales RENAME TO unpartitioned;
        CREATE TABLE retail.sales (LIKE retail.unpartitioned, PRIMARY KEY (order_id, product_id))
          PARTITION BY RANGE (order_id);
        CREATE TABLE retail.sales_1 PARTITION OF retail.sales FOR VALUES FROM (0) TO (100);
        INSERT INTO retail.sales SELECT * FROM retail.unpartitioned;
        GRANT SELECT ON retail.sales TO loader
        """
    )


def test_partitions_load_as_one_table_and_a_new_one_is_read_entirely(loaded_pipeline: LoadPipeline) -> None:
    partition_sales(loaded_pipeline.source)
    assert cursor_of(loaded_pipeline, "retail.sales") == "xmin"
    loaded_pipeline.source.execute(
        """
        CREATE TABLE retail.sales_2 (LIKE retail.sales);
        INSERT INTO retail.sales_2 (order_id, product_id, created_at, updated_at) VALUES (100, 1, now(), now())
        """
    )
    assert cursor_of(loaded_pipeline, "retail.sales") == "xmin"
    loaded_pipeline.source.execute(
        "ALTER TABLE retail.sales ATTACH PARTITION retail.sales_2 FOR VALUES FROM (100) TO (200)"
    )
    recorded = loaded_pipeline.load("retail.sales")
    assert recorded.loads["retail.sales"].rows == 1, "only the rows of the new partition are new"
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")
    loaded_pipeline.source.execute("ALTER TABLE retail.sales DETACH PARTITION retail.sales_1")
    assert loaded_pipeline.load("retail.sales").loads["retail.sales"].deletions.marked == 3
    assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales")


def test_a_partition_is_read_again_that_was_detached_during_a_failed_load(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That load has marked its rows, and hasn't finished."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    partition_sales(loaded_pipeline.source)
    cursor_of(loaded_pipeline, "retail.sales")
    loaded_pipeline.source.execute("ALTER TABLE retail.sales DETACH PARTITION retail.sales_1")
    with monkeypatch.context() as patch:
        patch.setattr("meshflow.loading.load_log.LoadLog.finish", die)
        with pytest.raises(KeyboardInterrupt):
            loaded_pipeline.load("retail.sales")
    assert loaded_pipeline.in_raw("retail.sales") == []
    loaded_pipeline.source.execute(
        "ALTER TABLE retail.sales ATTACH PARTITION retail.sales_1 FOR VALUES FROM (0) TO (100)"
    )
    assert cursor_of(loaded_pipeline, "retail.sales") == "xmin"


def test_a_partition_that_is_detached_between_snapshot_and_read_is_not_taken_for_read(
    loaded_pipeline: LoadPipeline,
) -> None:
    """The numbers of rows are equal: RAW has marked those of the partition."""
    detach = "ALTER TABLE retail.sales DETACH PARTITION retail.sales_1"
    attach = "ALTER TABLE retail.sales ATTACH PARTITION retail.sales_1 FOR VALUES FROM (0) TO (100)"
    partition_sales(loaded_pipeline.source)
    cursor_of(loaded_pipeline, "retail.sales")
    loaded_pipeline.source.execute(detach)
    assert loaded_pipeline.load("retail.sales").loads["retail.sales"].deletions.marked == 3
    loaded_pipeline.source.execute(attach)
    reporter = RecordingReporter(on_start=lambda _: loaded_pipeline.source.execute(detach))
    recorded = loaded_pipeline.load("retail.sales", reporter=reporter)
    assert "a partition was attached or detached" in recorded.rejections["retail.sales"]
    loaded_pipeline.source.execute(attach)
    assert cursor_of(loaded_pipeline, "retail.sales") == "xmin"


def test_a_reconciliation_of_one_day_reads_all_partitions(loaded_pipeline: LoadPipeline) -> None:
    """Or the ones that it can leave out would look detached."""
    loaded_pipeline.source.execute(
        """
        CREATE SCHEMA shop;
        CREATE TABLE shop.days (id integer, updated_at date, PRIMARY KEY (id, updated_at))
          PARTITION BY LIST (updated_at);
        CREATE TABLE shop.days_1 PARTITION OF shop.days FOR VALUES IN ('2026-01-01');
        CREATE TABLE shop.days_2 PARTITION OF shop.days FOR VALUES IN ('2026-01-02');
        INSERT INTO shop.days VALUES (1, '2026-01-01'), (2, '2026-01-02');
        GRANT USAGE ON SCHEMA shop TO loader;
        GRANT SELECT ON shop.days TO loader
        """
    )
    add_contract(loaded_pipeline, "shop.days", "id, updated_at", {"id": "INT", "updated_at": "DATE"})
    assert loaded_pipeline.load("shop.days").complete
    with duckdb.connect(str(loaded_pipeline.raw)) as raw:
        raw.execute("UPDATE shop.days SET _deleted_at = _loaded_at, _loaded_at = now() WHERE id = 1")
        raw.execute("INSERT INTO shop.days (id, updated_at) VALUES (3, '2026-01-01')")
    result = run_meshflow(loaded_pipeline, "reconcile")
    assert result.exit_code == 1
    assert "detached" not in result.stderr


def test_an_index_that_is_built_during_a_load_changes_nothing(by_each_cursor: LoadPipeline) -> None:
    index = "CREATE INDEX ON retail.sales (city)"
    reporter = RecordingReporter(on_start=lambda _: by_each_cursor.source.execute(index))
    assert by_each_cursor.load("retail.sales", reporter=reporter).complete


def test_a_partition_may_have_the_name_of_its_table(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("CREATE SCHEMA archive")
    loaded_pipeline.source.execute("CREATE TABLE archive.sales (LIKE retail.sales)")
    partition_sales(loaded_pipeline.source)
    loaded_pipeline.source.execute(
        "ALTER TABLE retail.sales ATTACH PARTITION archive.sales FOR VALUES FROM (100) TO (200)"
    )
    assert cursor_of(loaded_pipeline, "retail.sales") == "xmin"


def test_a_table_with_children_is_rejected(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("CREATE TABLE retail.sales_2 () INHERITS (retail.sales)")
    assert "other tables inherit from it" in loaded_pipeline.load("retail.sales").rejections["retail.sales"]


@pytest.fixture
def standby(postgres_template: Path, tmp_path: Path) -> Iterator[Server]:
    """A server in recovery."""
    server = new_server(postgres_template, tmp_path / "standby")
    server.down()
    (server.cluster / "standby.signal").touch()
    server._start()  # noqa: SLF001 - `up` would create roles
    yield server
    server.down()


def test_a_standby_is_rejected_in_one_line(standby: Server, loaded_pipeline: LoadPipeline) -> None:
    result = run_meshflow(loaded_pipeline, "load", MESHFLOW_LOADER_URL=standby.url("loader", "source"))
    assert result.exit_code == 1
    assert "is a standby, where a load would lose rows" in error_line(result.stderr)


def test_the_check_prints_the_cursor_of_each_table_and_loads_nothing(loaded_pipeline: LoadPipeline) -> None:
    loaded_pipeline.source.execute("DROP INDEX edtech.courses_updated_at")
    loaded_pipeline.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    insert(loaded_pipeline.source, "retail.sales", [{"order_id": 9, "product_id": 9}])
    before = loaded_pipeline.query("FROM loader.loads")
    result = run_meshflow(loaded_pipeline, "source", "check")
    assert result.exit_code == 1
    assert {tuple(line.strip().split(maxsplit=2)) for line in result.stdout.splitlines()[2:]} == {
        ("edtech.students", "rejected"),
        ("edtech.courses", "xmin", "can be loaded"),
        ("edtech.enrollments", "updated_at", "can be loaded"),
        ("retail.sales", "updated_at", "can be loaded"),
    }
    assert "edtech.students: no primary key" in error_line(result.stderr)
    assert loaded_pipeline.query("FROM loader.loads") == before


@pytest.mark.parametrize(
    ("url", "is_verified"),
    [
        ("postgresql://loader@db.example.org/source", False),
        ("postgresql://loader@db.example.org/source?sslmode=require", False),
        ("postgresql://loader@localhost.example.org/source", False),
        ("postgresql://loader@/source?hostaddr=192.0.2.1", False),
        ("postgresql://loader@db.example.org/source?sslmode=verify-full", True),
        ("postgresql://loader@127.0.0.1:5433/source", True),
        ("postgresql://loader@localhost/source", True),
        ("postgresql:///source?host=/var/run/postgresql", True),
    ],
)
def test_a_server_whose_identity_is_not_verified_is_named(url: str, is_verified: bool) -> None:
    warning = unverified(url)
    assert (warning is None) == is_verified
    # Without a root certificate, libpq connects to no server with verify-full.
    assert is_verified or "sslmode=verify-full&sslrootcert=" in str(warning)


def test_a_load_that_failed_after_it_had_marked_rows_is_counted_by_the_next(
    loaded_pipeline: LoadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise no run would process the marked rows before midnight."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    loaded_pipeline.source.execute("DELETE FROM edtech.students WHERE student_id = 1")
    monkeypatch.setattr("meshflow.loading.load_log.LoadLog.finish", die)
    with pytest.raises(KeyboardInterrupt):
        loaded_pipeline.load("edtech.students")
    monkeypatch.undo()
    monkeypatch.chdir(loaded_pipeline.project)
    recorded = loaded_pipeline.load("edtech.students")
    assert recorded.cursors["edtech.students"] != Cursor()
    assert loaded_pipeline.load_log()[-1][-1] == 1
    with closing(duckdb.connect(str(loaded_pipeline.raw))) as raw:
        failed = raw.execute("SELECT status, error_class FROM loader.loads WHERE finished_at IS NULL").fetchall()
        assert failed == [("failed", "KeyboardInterrupt")]
