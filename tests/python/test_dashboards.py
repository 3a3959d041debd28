"""Snapshots that dashboards read, and their queries."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from shutil import copyfile, copytree

import click
import duckdb
import pandas as pd
import pytest
from workspace import Workspace, plan, run_elsewhere

from meshflow import publish as publishing
from meshflow.publish import SERVED, WarehouseBusyError, latest, publish
from meshflow.serve import ENVIRONMENTS, Query, SnapshotWarehouse, Snowflake, credentials, environments, warehouses

REVENUE = Query(
    "SELECT locations.country, SUM(sales.net_revenue_amount) AS net_revenue FROM retail.fct_sales AS sales "
    "INNER JOIN shared.dim_location AS locations ON sales.location_id = locations.location_id "
    "INNER JOIN retail.dim_product AS products ON sales.product_id = products.product_id "
    "WHERE sales.order_date BETWEEN ? AND ? GROUP BY locations.country ORDER BY locations.country",
    (datetime(2025, 1, 1).date(), datetime(2026, 12, 31).date()),
)


@pytest.fixture(scope="module")
def workspace(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project with prod and dev built from the sample, and no process in the warehouse."""
    workspace = built.clone(tmp_path_factory.mktemp("dashboards"))
    with closing(workspace.context()) as context:
        plan(context, "dev")
    return workspace


@pytest.fixture
def data(workspace: Workspace, tmp_path: Path) -> Path:
    """A data folder for one test, with the warehouse as built."""
    copytree(workspace.data, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def warehouse(data: Path) -> Path:
    return data / "local_analytics.duckdb"


@pytest.fixture
def folder(data: Path) -> Path:
    return data / "dashboards"


@contextmanager
def opened_elsewhere(database: Path, statement: str = "SELECT 1") -> Iterator[subprocess.Popen[str]]:
    """Another process that executes the statement and keeps the database open for writing."""
    program = (
        "import sys, duckdb; connection = duckdb.connect(sys.argv[1]); connection.execute(sys.argv[2]); "
        "print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(database), statement]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "open\n"
        yield process
        process.stdin.close()


def tables(snapshot: Path) -> set[str]:
    with closing(duckdb.connect(str(snapshot), read_only=True)) as connection:
        return {
            f"{schema}.{table}"
            for schema, table in connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
        }


def run(data: Path, environment: str, query: Query) -> pd.DataFrame:
    warehouse = SnapshotWarehouse("local", data)
    return warehouse.run(warehouse.now(), environment, query)


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{database}' AS ANALYTICS (READ_ONLY)")
        connection.execute("USE ANALYTICS")
        return connection.execute(query).fetchall()


def test_a_snapshot_contains_only_the_served_tables_of_every_environment(warehouse: Path, folder: Path) -> None:
    in_dev = {table.replace(".", "__dev.") for table in SERVED}
    assert tables(publish(warehouse, folder).path) == {*SERVED, *in_dev}


def test_a_snapshot_contains_only_the_served_columns(warehouse: Path, folder: Path) -> None:
    snapshot = publish(warehouse, folder).path
    found = rows(
        snapshot, "SELECT schema_name, table_name, LOWER(column_name) FROM duckdb_columns() WHERE NOT internal"
    )
    assert {(f"{schema}.{table}", column) for schema, table, column in found if "__" not in str(schema)} == {
        (table, column) for table, columns in SERVED.items() for column in columns
    }
    assert {column for _, _, column in found}.isdisjoint({"full_name", "customer_name", "instructor_name", "email"})


def test_each_table_of_a_snapshot_has_the_rows_of_its_mart(warehouse: Path, folder: Path) -> None:
    snapshot = publish(warehouse, folder).path
    for table, columns in SERVED.items():
        query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY ALL"
        assert rows(snapshot, query) == rows(warehouse, query), table


def test_an_unchanged_warehouse_is_copied_once(warehouse: Path, folder: Path) -> None:
    first = publish(warehouse, folder)
    assert publish(warehouse, folder) == first
    assert first.written_at.timestamp() == pytest.approx(warehouse.stat().st_mtime)


def test_a_snapshot_is_outdated_once_its_day_is_over_in_utc(
    warehouse: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs at midnight, but views show other ages and statuses then."""
    first = publish(warehouse, folder)
    monkeypatch.setattr(publishing, "datetime", Tomorrow)
    second = publish(warehouse, folder)
    assert second.path != first.path
    assert second.written_at == first.written_at
    assert publish(warehouse, folder) == latest(warehouse, folder) == second


class Tomorrow(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(days=1)


def test_the_two_newest_snapshots_are_kept_for_their_readers(warehouse: Path, folder: Path) -> None:
    snapshots = []
    for hour in range(3):
        os.utime(warehouse, ns=(0, hour * 3_600_000_000_000 + 1))
        snapshots.append(publish(warehouse, folder))
    assert set(folder.iterdir()) == {snapshot.path for snapshot in snapshots[1:]}
    assert latest(warehouse, folder) == snapshots[2]


def test_the_latest_snapshot_of_a_restored_older_warehouse_is_its_own(warehouse: Path, folder: Path) -> None:
    newer = [publish(warehouse, folder)]
    for hour in (3, 2, 1):
        os.utime(warehouse, ns=(0, hour * 3_600_000_000_000))
        restored = publish(warehouse, folder)
        assert restored not in newer
        assert latest(warehouse, folder) == restored
        newer.append(restored)


def test_no_snapshot_is_published_while_a_process_has_the_warehouse_open(warehouse: Path, folder: Path) -> None:
    before = publish(warehouse, folder)
    with opened_elsewhere(warehouse, "CREATE TABLE half_done AS SELECT 1 AS one"), pytest.raises(WarehouseBusyError):
        publish(warehouse, folder)
    assert latest(warehouse, folder) == before
    assert publish(warehouse, folder).written_at > before.written_at


def test_the_check_for_a_writer_takes_no_lock(warehouse: Path) -> None:
    assert not publishing._is_open(warehouse)  # noqa: SLF001 - a lock would make plans fail
    with opened_elsewhere(warehouse, "CREATE TABLE written AS SELECT 1 AS one"):
        assert publishing._is_open(warehouse)  # noqa: SLF001


def test_a_copy_is_discarded_if_the_warehouse_was_written_meanwhile(
    warehouse: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = publish(warehouse, folder)
    with opened_elsewhere(warehouse, "CREATE TABLE one AS SELECT 1 AS one"):
        pass

    def copy_while_written(source: Path, target: Path) -> None:
        copyfile(source, target)
        with opened_elsewhere(source, "CREATE TABLE two AS SELECT 2 AS two"):
            pass

    monkeypatch.setattr(publishing, "copyfile", copy_while_written)
    with pytest.raises(WarehouseBusyError):
        publish(warehouse, folder)
    assert latest(warehouse, folder) == before
    assert list(folder.iterdir()) == [before.path], "no incomplete file is left"


def test_a_corrupt_copy_is_discarded(warehouse: Path, folder: Path) -> None:
    before = publish(warehouse, folder)
    size = warehouse.stat().st_size
    with warehouse.open("r+b") as file:  # every block but the header's
        file.seek(16384)
        file.write(os.urandom(size - 16384))
    with pytest.raises(click.ClickException, match="can't be read"):
        publish(warehouse, folder)
    assert list(folder.iterdir()) == [before.path]


def test_a_snapshot_contains_what_a_killed_process_had_committed(warehouse: Path, folder: Path) -> None:
    columns = ", ".join(f"7 AS {column}" for column in SERVED["retail.dim_product"])
    statement = f"CREATE SCHEMA RETAIL__late; CREATE VIEW RETAIL__late.DIM_PRODUCT AS SELECT {columns}"
    with opened_elsewhere(warehouse, statement) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Path(f"{warehouse}.wal").exists()
        snapshot = publish(warehouse, folder).path
    assert rows(snapshot, "SELECT product_id FROM retail__late.dim_product") == [(7,)]


def test_files_of_a_killed_dashboard_are_removed_after_an_hour(warehouse: Path, folder: Path) -> None:
    for name, hours in ((".old", 2), (".new", 0)):
        (folder / name).mkdir(parents=True)
        (folder / name / "copied.duckdb").touch()
        at = time.time() - hours * 3600
        os.utime(folder / name, (at, at))
    snapshot = publish(warehouse, folder).path
    assert set(folder.iterdir()) == {snapshot, folder / ".new"}, "the newer one may be in use"


def test_a_view_that_fails_is_left_out(warehouse: Path, folder: Path) -> None:
    statement = (
        "CREATE SCHEMA RETAIL__broken; CREATE TABLE RETAIL__broken.t AS SELECT 1 AS one; "
        "CREATE VIEW RETAIL__broken.FCT_SALES AS SELECT * FROM RETAIL__broken.t; DROP TABLE RETAIL__broken.t; "
        # Late rows may break a view whose plan succeeded.
        "CREATE SCHEMA SHARED__broken; CREATE VIEW SHARED__broken.DIM_LOCATION AS "
        "SELECT text::INT AS location_id, '' AS city, '' AS province, '' AS country FROM (VALUES ('1'), ('x')) t(text)"
    )
    with opened_elsewhere(warehouse, statement):
        pass
    found = tables(publish(warehouse, folder).path)
    assert not {"retail__broken.fct_sales", "shared__broken.dim_location"} & found
    assert set(SERVED) <= found


def test_a_run_and_snapshots_published_meanwhile_dont_interfere(workspace: Workspace, data: Path) -> None:
    warehouse, folder = data / "local_analytics.duckdb", data / "dashboards"
    before = publish(warehouse, folder)
    totals = "SELECT COUNT(*), SUM(net_revenue_amount) FROM retail.fct_sales"
    students = "SELECT SUM(student_count) FROM edtech.rpt_students_by_age_band"
    rejected = "SELECT SUM(rejected_count) FROM ops.rejected_rows"
    expected = [rows(before.path, query) for query in (totals, students, rejected)]
    busy = 0
    with run_elsewhere(workspace, data) as run:
        while run.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                run.wait(timeout=0.01)
            try:
                snapshot = publish(warehouse, folder).path
            except WarehouseBusyError:
                busy += 1
                continue
            assert [rows(snapshot, query) for query in (totals, students, rejected)] == expected
    after = publish(warehouse, folder)
    assert [rows(after.path, query) for query in (totals, students, rejected)] == expected
    assert after.written_at > before.written_at, "the run has written the warehouse"
    assert busy, "a publication coincided with the run"


def test_environments_are_the_built_ones_with_prod_first(data: Path) -> None:
    assert environments(run(data, "prod", ENVIRONMENTS)) == ["prod", "dev"]


def test_filters_combine(data: Path) -> None:
    query = REVENUE.only("locations.country", ["Spain", "Canada"]).only("products.product_category", ["Books"])
    expected = rows(
        data / "local_analytics.duckdb",
        "SELECT country, SUM(net_revenue_amount) FROM retail.fct_sales JOIN shared.dim_location USING (location_id) "
        "JOIN retail.dim_product USING (product_id) "
        "WHERE country IN ('Spain', 'Canada') AND product_category = 'Books' GROUP BY country ORDER BY country",
    )
    assert [tuple(row) for row in run(data, "prod", query).to_numpy()] == expected
    assert len(expected) == 2


def test_revenue_by_country_equals_the_report(data: Path) -> None:
    report = "SELECT country, net_revenue_amount FROM retail.rpt_net_revenue_by_country ORDER BY country"
    revenue = [tuple(row) for row in run(data, "prod", REVENUE).to_numpy()]
    assert revenue == rows(data / "local_analytics.duckdb", report)


@pytest.mark.parametrize("country", ["Spain' OR '1' = '1", "?", "$1", "Spain'); DROP TABLE retail.fct_sales; --"])
def test_a_parameter_is_never_executed_as_sql(data: Path, country: str) -> None:
    assert run(data, "prod", REVENUE.only("locations.country", [country])).empty


def test_a_query_reads_the_views_of_its_environment() -> None:
    sql = REVENUE.only("locations.country", ["Spain"]).to_sql("pr_7", "snowflake")
    assert "FROM retail__pr_7.fct_sales AS sales" in sql
    assert "JOIN shared__pr_7.dim_location AS locations" in sql
    assert "locations.country IN (?)" in sql
    assert "Spain" not in sql


def test_the_error_for_a_missing_table_names_the_table_and_the_plan_that_adds_it(data: Path) -> None:
    with pytest.raises(click.ClickException, match=r"dev doesn't have .* retail\.absent.*`sqlmesh plan dev`"):
        run(data, "dev", Query("SELECT one FROM retail.absent"))


def test_a_warehouse_without_environments_has_none(tmp_path: Path) -> None:
    with closing(duckdb.connect(str(tmp_path / "local_analytics.duckdb"))):
        pass
    assert environments(run(tmp_path, "prod", ENVIRONMENTS)) == []


def test_during_its_first_build_a_warehouse_has_no_state(tmp_path: Path) -> None:
    database = tmp_path / "local_analytics.duckdb"
    with (
        opened_elsewhere(database, "CREATE TABLE started AS SELECT 1 AS one"),
        pytest.raises(click.ClickException, match="A plan is building the warehouse"),
    ):
        SnapshotWarehouse("local", tmp_path).now()


def test_a_session_keeps_its_state_when_a_newer_snapshot_is_published(data: Path, warehouse: Path) -> None:
    served = SnapshotWarehouse("local", data)
    first = served.now()
    with opened_elsewhere(warehouse, "CREATE SCHEMA RETAIL__new; CREATE VIEW RETAIL__new.DIM_PRODUCT AS SELECT 1 one"):
        assert served.now().snapshot == first.snapshot
        assert "in progress" in served.now().note
    second = served.now()
    assert second.version != first.version
    assert environments(served.run(first, "prod", ENVIRONMENTS)) == ["prod", "dev"]


def test_a_warehouse_that_cant_be_copied_is_reported_and_its_previous_snapshot_shown(
    data: Path, warehouse: Path
) -> None:
    served = SnapshotWarehouse("local", data)
    before = served.now()
    warehouse.write_bytes(b"no database")
    after = served.now()
    assert after.snapshot == before.snapshot
    assert "can't be read" in after.note
    assert before.snapshot
    before.snapshot.path.unlink()
    with pytest.raises(click.ClickException, match="can't be read"):
        served.now()


def test_warehouses_are_snowflake_then_live_data_then_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHFLOW_SNOWFLAKE_ACCOUNT", raising=False)
    assert not warehouses(tmp_path)
    (tmp_path / "local_analytics.duckdb").touch()
    assert list(warehouses(tmp_path)) == ["local"]
    (tmp_path / "live_analytics.duckdb").touch()
    assert list(warehouses(tmp_path)) == ["live", "local"]
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_ACCOUNT", "account")
    assert list(warehouses(tmp_path)) == ["snowflake", "live", "local"]


def test_the_error_without_a_key_for_snowflake_names_the_missing_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "PRIVATE_KEY", "TOKEN"):
        monkeypatch.delenv(f"MESHFLOW_SNOWFLAKE_DASHBOARDS_{name}", raising=False)
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_ACCOUNT", "account")
    missing = "MESHFLOW_SNOWFLAKE_DASHBOARDS_USER and MESHFLOW_SNOWFLAKE_DASHBOARDS_PRIVATE_KEY"
    with pytest.raises(click.ClickException, match=missing):
        credentials()
    assert Snowflake().title == "Snowflake", "it can be selected, and then shows the error"


def test_dashboards_log_in_to_snowflake_with_their_own_user_and_role(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "ROLE", "WAREHOUSE", "HOST"):
        monkeypatch.delenv(f"MESHFLOW_SNOWFLAKE_{name}", raising=False)
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_ACCOUNT", "account")
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_USER", "DASHBOARDS")
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_TOKEN", "a-token")
    settings = credentials()
    assert (settings["user"], settings["role"], settings["warehouse"]) == ("DASHBOARDS", "DASHBOARDS__U_ROLE", "BI")
    assert settings["authenticator"] == "oauth"
    assert settings["paramstyle"] == "qmark"
