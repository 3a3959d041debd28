"""The signal `source_loaded`, called as by the models, on a load log in a real DuckDB."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pytest
from sqlglot import exp
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.context import Context, ExecutionContext
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot
from sqlmesh.utils.date import to_timestamp

from meshflow.loading.contract import contract

HOURS = [
    (to_timestamp(datetime(2026, 11, 1, hour, tzinfo=UTC)), to_timestamp(datetime(2026, 11, 1, hour + 1, tzinfo=UTC)))
    for hour in range(10, 14)
]
"""The hours that start at 10, 11, 12 and 13 o'clock, in SQLMesh's format: milliseconds since 1970, end exclusive."""

EDTECH = ("edtech.students", "edtech.courses", "edtech.enrollments")

MODEL = "staging.stg_edtech__students"
"""Its MODEL header calls the signal for 'edtech'."""


@pytest.fixture(scope="module")
def on_live(live_project: Context) -> Snapshot:
    return live_project.get_snapshot(MODEL, raise_if_missing=True)


@pytest.fixture(scope="module")
def on_local(warehouse: Context) -> Snapshot:
    return warehouse.get_snapshot(MODEL, raise_if_missing=True)


@pytest.fixture(params=["TIMESTAMP", "TIMESTAMP WITH TIME ZONE"])
def warehouse_with_load_log(request: pytest.FixtureRequest) -> Iterator[EngineAdapter]:
    """A warehouse with an empty load log, for both timestamp types that a loader may use."""
    adapter = DuckDBConnectionConfig(
        catalogs={"ANALYTICS": ":memory:", "RAW": ":memory:"}, connector_config={"TimeZone": "UTC"}
    ).create_engine_adapter()
    adapter.execute("CREATE SCHEMA RAW.LOADER")
    adapter.execute(
        f"CREATE TABLE RAW.LOADER.LOADS (source VARCHAR, table_name VARCHAR, started_at {request.param}, "
        f"finished_at {request.param}, row_count BIGINT)"
    )
    yield adapter
    adapter.close()


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def process_in_time_zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The time zone of the machine. The results must not depend on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def finish_load(  # noqa: PLR0913 - a row of the load log
    adapter: EngineAdapter, table: str, started_at: str, finished_at: str, rows: int = 1, *, day: str = "2026-11-01"
) -> None:
    """Record a load of `table`, such as 'edtech.students'. Times are UTC on `day`."""
    source, table_name = table.split(".")
    adapter.execute(
        "INSERT INTO RAW.LOADER.LOADS (source, table_name, started_at, finished_at, row_count) "
        f"VALUES ('{source}', '{table_name}', '{day} {started_at}', '{day} {finished_at}', {rows})"
    )


def ready_hours(
    model: Snapshot, adapter: EngineAdapter, tables: Iterable[str] = ("edtech.students", "retail.sales")
) -> list[int]:
    """The hours that SQLMesh would process now, by their start. `tables` are those of the contract."""
    snapshots = {exp.to_table(f"raw.{table}".upper()).sql(identify=True): model for table in tables}
    intervals = model.check_ready_intervals(list(HOURS), ExecutionContext(adapter, snapshots))
    assert set(intervals) <= set(HOURS)
    return [datetime.fromtimestamp(start / 1000, tz=UTC).hour for start, _ in intervals]


def test_sample_data_is_always_ready(on_local: Snapshot, warehouse_with_load_log: EngineAdapter) -> None:
    assert ready_hours(on_local, warehouse_with_load_log) == [10, 11, 12, 13]


def test_no_hour_is_ready_before_the_first_load_has_finished(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    assert ready_hours(on_live, warehouse_with_load_log) == []


@pytest.mark.parametrize(
    ("started_at", "hours"),
    [
        ("10:59:59.999999", []),
        ("11:00:00", [10]),
        ("11:59:59", [10]),
        ("12:05:00", [10, 11]),
        ("23:00:00", [10, 11, 12, 13]),
    ],
)
def test_an_hour_is_ready_once_a_finished_load_started_at_its_end_or_later(
    on_live: Snapshot,
    warehouse_with_load_log: EngineAdapter,
    process_in_time_zone: str,
    started_at: str,
    hours: list[int],
) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", started_at, "23:59:59")
    assert ready_hours(on_live, warehouse_with_load_log) == hours


def test_the_newest_start_counts_not_the_newest_finish(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "12:00", "12:01")
    finish_load(warehouse_with_load_log, "edtech.students", "11:00", "13:30")
    assert ready_hours(on_live, warehouse_with_load_log) == [10, 11]


def test_the_start_of_a_load_counts_and_not_its_end(on_live: Snapshot, warehouse_with_load_log: EngineAdapter) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "11:30", "13:30")
    assert ready_hours(on_live, warehouse_with_load_log) == [10]


def test_a_late_table_delays_its_source(on_live: Snapshot, warehouse_with_load_log: EngineAdapter) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "13:30", "13:31")
    finish_load(warehouse_with_load_log, "edtech.courses", "11:10", "13:31")
    finish_load(warehouse_with_load_log, "edtech.enrollments", "12:20", "13:31")
    assert ready_hours(on_live, warehouse_with_load_log, EDTECH) == [10]


def test_only_the_newest_load_of_each_table_counts(on_live: Snapshot, warehouse_with_load_log: EngineAdapter) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "10:30", "10:31")
    finish_load(warehouse_with_load_log, "edtech.courses", "11:10", "11:11")
    finish_load(warehouse_with_load_log, "edtech.courses", "12:30", "12:31")
    finish_load(warehouse_with_load_log, "edtech.students", "13:00", "13:01")
    assert ready_hours(on_live, warehouse_with_load_log, EDTECH[:2]) == [10, 11]


def test_a_load_of_another_source_does_not_count(on_live: Snapshot, warehouse_with_load_log: EngineAdapter) -> None:
    finish_load(warehouse_with_load_log, "retail.sales", "13:30", "13:31")
    assert ready_hours(on_live, warehouse_with_load_log) == []


def test_a_late_load_of_another_source_delays_nothing(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "12:00", "12:01")
    finish_load(warehouse_with_load_log, "retail.sales", "10:30", "10:31")
    assert ready_hours(on_live, warehouse_with_load_log) == [10, 11]


def test_no_hour_is_ready_while_no_load_has_brought_a_row(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "09:59:59", "10:01")
    finish_load(warehouse_with_load_log, "edtech.students", "12:00", "12:01", rows=0)
    finish_load(warehouse_with_load_log, "edtech.courses", "12:30", "12:31", rows=0)
    assert ready_hours(on_live, warehouse_with_load_log, EDTECH[:2]) == []
    finish_load(warehouse_with_load_log, "edtech.courses", "13:30", "13:31")
    assert ready_hours(on_live, warehouse_with_load_log, EDTECH[:2]) == [10, 11]


def test_a_load_that_did_not_finish_does_not_count(on_live: Snapshot, warehouse_with_load_log: EngineAdapter) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "11:00", "11:01")
    warehouse_with_load_log.execute(
        "INSERT INTO RAW.LOADER.LOADS (source, table_name, started_at, row_count) "
        "VALUES ('edtech', 'students', '2026-11-01 13:00', 0)"
    )
    assert ready_hours(on_live, warehouse_with_load_log) == [10]


def test_a_table_that_has_never_been_loaded_delays_its_source(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "13:30", "13:31")
    assert ready_hours(on_live, warehouse_with_load_log, EDTECH[:2]) == []


def test_a_table_that_was_taken_out_of_the_contract_delays_nothing(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    finish_load(warehouse_with_load_log, "edtech.grades", "10:30", "10:31")
    finish_load(warehouse_with_load_log, "edtech.students", "12:00", "12:01")
    assert ready_hours(on_live, warehouse_with_load_log) == [10, 11]


def test_the_environment_has_the_tables_of_the_contract(live_project: Context) -> None:
    names = [exp.to_table(name) for name in live_project.snapshots]
    tables = {f"{table.db}.{table.name}".lower() for table in names if table.catalog == "RAW"}
    assert tables == {str(table) for table in contract(live_project.path).values()}


def test_without_a_row_the_hours_before_midnight_are_ready_after_it(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    """A source without new rows must not block a daily model that reads another one too."""
    finish_load(warehouse_with_load_log, "edtech.students", "09:00", "09:01")
    finish_load(warehouse_with_load_log, "edtech.students", "23:59", "23:59:30", rows=0)
    assert ready_hours(on_live, warehouse_with_load_log) == []
    finish_load(warehouse_with_load_log, "edtech.students", "00:00", "00:01", rows=0, day="2026-11-02")
    assert ready_hours(on_live, warehouse_with_load_log) == [10, 11, 12, 13]


def test_rows_of_an_hour_that_is_not_complete_are_not_kept_waiting(
    on_live: Snapshot, warehouse_with_load_log: EngineAdapter
) -> None:
    finish_load(warehouse_with_load_log, "edtech.students", "11:00", "11:01")
    assert ready_hours(on_live, warehouse_with_load_log) == [10]


def test_every_model_with_the_signal_passes_the_source_in_its_name(live_project: Context) -> None:
    sources = {
        model.name: {arguments["source"].name for name, arguments in model.signals if name == "source_loaded"}
        for model in live_project.models.values()
        if any(name == "source_loaded" for name, _ in model.signals)
    }
    assert sources
    assert sources == {name: {name.split(".stg_")[1].split("__")[0]} for name in sources}


STORED = "intermediate.int_retail__customers_derived"
PARENT = "intermediate.int_retail__sales_validated"
VERSIONS = "intermediate.int_retail__customer_versions"


@pytest.mark.parametrize(
    ("processed", "in_this_run", "hours"),
    [
        ([], [], []),
        (HOURS[:2], [], [10, 11]),
        ([], HOURS[:1], [10]),
        (HOURS[:1], HOURS[1:2], [10, 11]),
        (HOURS[1:3], [], [11, 12]),
        ([(HOURS[0][0], HOURS[-1][1])], [], [10, 11, 12, 13]),
    ],
)
def test_an_hour_is_ready_once_the_parents_have_processed_it_or_do_so_in_this_run(
    live_project: Context,
    warehouse_with_load_log: EngineAdapter,
    processed: list[tuple[int, int]],
    in_this_run: list[tuple[int, int]],
    hours: list[int],
) -> None:
    model, parent = (live_project.get_snapshot(name, raise_if_missing=True).model_copy() for name in (STORED, PARENT))
    parent.intervals = processed
    context = ExecutionContext(warehouse_with_load_log, {parent.name: parent}, parent_intervals=in_this_run)
    intervals = model.check_ready_intervals(list(HOURS), context)
    assert [datetime.fromtimestamp(start / 1000, tz=UTC).hour for start, _ in intervals] == hours


def test_a_parent_whose_table_prod_shares_with_an_earlier_version_counts_by_its_intervals(
    live_project: Context, warehouse_with_load_log: EngineAdapter
) -> None:
    """In a dev environment it isn't deployable, but its table is the one that its children read."""
    model, parent = (live_project.get_snapshot(name, raise_if_missing=True).model_copy() for name in (STORED, PARENT))
    parent.intervals = HOURS[:2]
    index = DeployabilityIndex(indexed_ids=frozenset(), representative_shared_version_ids={parent.snapshot_id})
    assert not index.is_deployable(parent)
    assert index.is_representative(parent)
    context = ExecutionContext(warehouse_with_load_log, {parent.name: parent}, index)
    assert model.check_ready_intervals(list(HOURS), context) == HOURS[:2]


def test_a_plan_of_prod_builds_forward_only_models_whose_parents_it_has_just_built(
    live_project: Context, warehouse_with_load_log: EngineAdapter
) -> None:
    """In that step SQLMesh passes the parents as they were before the plan."""
    model = live_project.get_snapshot(VERSIONS, raise_if_missing=True).model_copy()
    parents = [live_project.get_snapshot(name, raise_if_missing=True) for name in (STORED, PARENT)]
    context = ExecutionContext(warehouse_with_load_log, {parent.name: parent for parent in parents})
    assert model.model.forward_only
    assert model.check_ready_intervals(list(HOURS), context) == list(HOURS)
    model.intervals = HOURS[:1]
    assert model.check_ready_intervals(list(HOURS), context) == []


def test_every_incremental_model_waits_for_its_parents(live_project: Context) -> None:
    models = live_project.models.values()
    incremental = [model for model in models if model.kind.is_custom or model.kind.is_incremental_unmanaged]
    assert {model.kind.name.name for model in incremental} == {"CUSTOM", "INCREMENTAL_UNMANAGED"}
    assert [model.name for model in incremental if "parents_processed" not in dict(model.signals)] == []
