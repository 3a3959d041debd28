"""After any history, one plain run makes every table equal its rebuild and the source.

The test writes RAW as the loader does: it merges rows by key, stamps them with the start of their load, and adds the
load to the load log. Signals, intervals, plans, runs and the state are SQLMesh's own, on DuckDB files and PostgreSQL.

Every execution draws other histories. A failure prints the seed, and `MESHFLOW_SEED=… make chaos-test` repeats it.
`make chaos-long` goes on for an hour.
"""

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom

import pytest
from histories import STORED, VALID, Row, Warehouse, difference
from sources import new_state
from workspace import Workspace, plan, recorded, writes

from meshflow.source.server import Server

COMPARISONS = 10
SECONDS = float(os.environ.get("MESHFLOW_CHAOS_SECONDS") or 0)
"""How long histories go on after COMPARISONS."""


@pytest.fixture(scope="module")
def warehouse(project: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Prod on gateway `live`, before the first row."""
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("live"), new_state(postgres))
    workspace.edit("config.yaml", ", read_only: true}", "}")  # here the test is the loader
    context = workspace.context("live")
    for fqn, model in context.models.items():
        if model.kind.is_external:
            context.engine_adapter.create_schema(fqn.rsplit(".", 1)[0])
            context.engine_adapter.create_table(fqn, model.columns_to_types)
    warehouse = Warehouse(workspace, context, datetime.now(UTC).replace(tzinfo=None))
    warehouse.record_load()
    plan(context, "prod")
    warehouse.pass_time(timedelta(minutes=10))
    yield warehouse
    context.close()


SALE = VALID["retail.sales"] | {"deleted_at": None}


def load(warehouse: Warehouse, *sales: Row) -> None:
    """Load rows of retail.sales in an interval of five minutes, and after it another time, without rows."""
    warehouse.clock += timedelta(minutes=6) - timedelta(seconds=warehouse.clock.timestamp() % 300)
    for row in sales:
        warehouse.write("retail.sales", row)
    warehouse.record_load()
    warehouse.pass_time(timedelta(minutes=5))
    warehouse.record_load(rows=0)


def next_midnight(warehouse: Warehouse) -> None:
    """Pass the time until a minute past midnight, UTC."""
    warehouse.clock = warehouse.clock.replace(hour=0, minute=1) + timedelta(days=1)


def test_an_order_with_several_lines_is_counted_once_where_it_was_sold(warehouse: Warehouse) -> None:
    load(warehouse, SALE, SALE | {"product_id": 8})
    warehouse.catch_up()
    assert warehouse.differences() == []


@pytest.mark.parametrize("model", ["int_retail__sales_aggregated", "int_retail__customers_derived"])
def test_a_restated_model_finds_rows_that_wait_in_its_parent(warehouse: Warehouse, model: str) -> None:
    """SQLMesh restates all of the interval that contains the end. Its parent is processed before that interval only."""
    load(warehouse, SALE | {"order_id": 8, "customer_id": 20 + len(model)})
    end = warehouse.clock - timedelta(minutes=3)
    warehouse.plan("prod", restate_models=[f"intermediate.{model}"], start=end - timedelta(minutes=15), end=end)
    warehouse.catch_up()
    assert warehouse.differences() == []


@pytest.mark.parametrize("model", ["int_retail__sales_aggregated", "int_retail__customers_derived"])
def test_a_model_that_ran_alone_finds_rows_that_wait_in_its_parent(warehouse: Warehouse, model: str) -> None:
    load(warehouse, SALE | {"order_id": 8, "customer_id": 60 + len(model)})
    warehouse.run(select_models=[f"intermediate.{model}"], no_auto_upstream=True)
    warehouse.catch_up()
    assert warehouse.differences() == []


def test_versions_that_were_appended_alone_find_rows_that_wait_in_their_parent(warehouse: Warehouse) -> None:
    """The deletion of one customer is recorded under the load that changes the other: both are in the parents' past."""
    lines = [SALE | {"order_id": 50 + customer, "customer_id": customer} for customer in (31, 32)]
    load(warehouse, *lines)
    warehouse.catch_up()
    load(warehouse, lines[0] | {"deleted_at": datetime(2026, 3, 2)})
    warehouse.run(select_models=["intermediate.int_retail__customers_derived"])
    load(warehouse, lines[1] | {"cust_name": "Zoë"})
    warehouse.run(select_models=["intermediate.int_retail__sales_validated"])
    warehouse.run(select_models=["intermediate.int_retail__customer_versions"], no_auto_upstream=True)
    warehouse.catch_up()
    assert warehouse.differences() == []


@pytest.mark.parametrize("model", ["int_retail__sales_validated", "int_retail__customers_derived"])
def test_a_table_restored_from_a_backup_gets_the_rows_that_it_lacks(warehouse: Warehouse, model: str) -> None:
    """SQLMesh's state is in another database, and still says that they have been processed."""
    load(warehouse, SALE | {"order_id": 70 + len(model), "customer_id": 80 + len(model)})
    warehouse.catch_up()
    table = warehouse.context.get_snapshot(f"intermediate.{model}", raise_if_missing=True).table_name()
    newest = f"(SELECT MAX(_loaded_at) FROM {table})"
    warehouse.context.engine_adapter.execute(f"DELETE FROM {table} WHERE _loaded_at = {newest}")
    load(warehouse, SALE | {"order_id": 71 + len(model)})
    warehouse.catch_up()
    assert warehouse.differences() == []


def test_a_day_that_a_line_has_left_is_recomputed_though_no_run_saw_it_leave(warehouse: Warehouse) -> None:
    """Only validation sees the line rejected. It isn't the newest line of its day."""
    line = SALE | {"order_id": 9}
    load(warehouse, line)
    load(warehouse, SALE | {"order_id": 10})
    warehouse.catch_up()
    load(warehouse, line | {"quantity": -1})
    warehouse.run(select_models=["intermediate.int_retail__sales_validated"])
    load(warehouse, line | {"order_date_at": datetime(2026, 3, 9, 9)})
    warehouse.catch_up()
    assert warehouse.differences() == []


def test_a_customer_who_has_lost_the_first_order_gets_a_later_first_day(warehouse: Warehouse) -> None:
    days = [datetime(2026, 3, day, 9) for day in (1, 2, 9)]
    lines = [SALE | {"order_id": 10 + day.day, "customer_id": 9, "order_date_at": day} for day in days]
    load(warehouse, *lines)
    warehouse.catch_up()
    load(warehouse, lines[0] | {"customer_id": 8})
    warehouse.catch_up()
    assert warehouse.differences() == []


def test_one_plain_run_makes_every_table_equal_its_rebuild_and_the_source(warehouse: Warehouse) -> None:
    seed = int(os.environ.get("MESHFLOW_SEED") or SystemRandom().randrange(10**9))
    print(f"MESHFLOW_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    warehouse.random = Random(seed)  # noqa: S311
    started, comparisons = time.monotonic(), 0
    while comparisons < COMPARISONS or time.monotonic() - started < SECONDS:
        for _ in range(warehouse.random.randint(2, 8)):
            warehouse.step()
        warehouse.catch_up()
        assert warehouse.differences() == [], (seed, warehouse.log)
        comparisons += 1
    print(f"{comparisons} comparisons after {len(warehouse.log)} steps")  # noqa: T201


def test_a_warehouse_built_from_scratch_on_the_same_raw_has_the_same_rows(
    warehouse: Warehouse, postgres: Server, tmp_path: Path
) -> None:
    """After all that: how the tables were filled makes no difference."""
    for table, row in VALID.items():
        warehouse.write(table, row | {"deleted_at": None})
    warehouse.record_load()
    warehouse.plan("prod")
    warehouse.catch_up()
    for catalog in ("RAW", "ANALYTICS"):
        warehouse.context.engine_adapter.execute(f"CHECKPOINT {catalog}")
    workspace = warehouse.workspace.clone(tmp_path, new_state(postgres))
    for file in (tmp_path / "data").glob("live_analytics*"):
        file.unlink()
    # SQLMesh caches snapshots of the state beside the project.
    shutil.rmtree(workspace.path / ".cache")
    from_scratch = workspace.context("live")
    plan(from_scratch, "prod")
    for model in STORED:
        rebuilt = warehouse.table(model, from_scratch)
        assert difference(model, rebuilt, warehouse.table(model)) == ""
        assert rebuilt, f"{model} is empty, which proves nothing"
    from_scratch.close()


def test_a_run_in_which_nothing_loaded_computes_nothing(warehouse: Warehouse) -> None:
    next_midnight(warehouse)
    warehouse.record_load(rows=0)
    assert warehouse.run()
    warehouse.pass_time(timedelta(hours=20))
    warehouse.record_load(rows=0)
    with recorded() as statements:
        assert warehouse.run()
    assert writes(statements) == []
    audits = [statement for statement in statements if "COUNT(*) FROM (" in statement]
    assert audits == []


def test_a_source_without_new_rows_does_not_block_daily_tables_of_both_sources(warehouse: Warehouse) -> None:
    next_midnight(warehouse)
    load(warehouse, SALE | {"order_id": 90})
    warehouse.catch_up()
    next_midnight(warehouse)
    load(warehouse, SALE | {"order_id": 91})
    with recorded() as statements:
        warehouse.catch_up()
    assert any("ROW_RECONCILIATION" in statement for statement in writes(statements))


def test_a_run_fails_when_rows_are_missing_in_raw_until_the_model_is_restated(warehouse: Warehouse) -> None:
    """Last in this file, because it loses rows."""
    table, model = "edtech.students", "intermediate.int_edtech__students_validated"
    warehouse.pass_time(timedelta(hours=1))
    warehouse.write(table, VALID[table] | {"deleted_at": None})
    warehouse.record_load()
    warehouse.catch_up()
    students = "SELECT * FROM edtech.dim_student"
    before = warehouse.contents(students)
    assert warehouse.differences() == []

    warehouse.raw[table] = []
    warehouse.context.engine_adapter.execute(f"DELETE FROM RAW.{table}")
    warehouse.pass_time(timedelta(hours=1))
    warehouse.record_load(rows=1)
    assert not warehouse.run()
    assert warehouse.contents(students) == before
    warehouse.plan("prod", restate_models=[model])
    warehouse.catch_up()
    assert warehouse.differences() == []
