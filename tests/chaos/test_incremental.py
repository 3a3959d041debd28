"""Incremental tables equal a full rebuild after any sequence of inserts, corrections, soft deletes and late rows.

The test writes RAW as the loader does: it merges rows by key, stamps them with the start of their load, and adds the
load to the load log. Signals, intervals and merges are SQLMesh's own, on DuckDB files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sources import new_state
from sqlmesh.core.context import Context
from sqlmesh.utils.date import now
from workspace import Workspace, plan, run

from meshflow.source.server import Server

INCREMENTAL = (
    "intermediate.int_edtech__students_validated",
    "intermediate.int_edtech__courses_validated",
    "intermediate.int_edtech__enrollments_validated",
    "intermediate.int_edtech__enrollments_flagged",
    "intermediate.int_retail__sales_validated",
    "intermediate.int_retail__sales_priced",
    "intermediate.int_retail__sales_aggregated",
)
KEYS = {
    "edtech.students": ("student_id",),
    "edtech.courses": ("course_id",),
    "edtech.enrollments": ("enrollment_id",),
    "retail.sales": ("order_id", "product_id"),
}
SHIFTED = ("student_id", "course_id", "enrollment_id", "order_id")
SELECTED = ["+intermediate.int_edtech__enrollments_flagged", "+intermediate.int_retail__sales_aggregated"]


@dataclass(frozen=True)
class Row:
    """A row of a source table, as it is now."""

    table: str
    values: dict[str, Any]

    def shift(self, history: int) -> "Row":
        """The same row with keys and order days of that history alone (DAYS span 8): all share one warehouse."""
        shifted = {key: self.values[key] + 10 * history for key in SHIFTED if self.values.get(key) is not None}
        if "order_date_at" in self.values:
            shifted["order_date_at"] = self.values["order_date_at"] - timedelta(days=10 * history)
        return replace(self, values={**self.values, **shifted})


def rows(table: str, **values: st.SearchStrategy[object]) -> st.SearchStrategy[Row]:
    """Few keys, so that corrections are common. A third of the rows is deleted."""
    values["deleted_at"] = st.sampled_from([None, None, datetime(2026, 1, 1)])
    return st.fixed_dictionaries(values).map(lambda values: Row(table, values))


DAYS = [datetime(2026, 3, 1), datetime(2026, 3, 2), datetime(2026, 3, 8)]

ROWS = st.one_of(
    rows(
        "edtech.students",
        student_id=st.integers(1, 3),
        first_name=st.sampled_from(["Ada", "Zoë", None]),
        enrollment_date=st.sampled_from(DAYS),
    ),
    rows(
        "edtech.courses",
        course_id=st.integers(1, 2),
        course_name=st.sampled_from(["Algebra", None]),
        credits=st.sampled_from([3, 5, 0]),
        start_date=st.just(DAYS[0]),
        end_date=st.sampled_from([DAYS[1], DAYS[2]]),
    ),
    rows(
        "edtech.enrollments",
        enrollment_id=st.integers(1, 4),
        student_id=st.sampled_from([1, 2, 3, 9, None]),
        course_id=st.integers(1, 2),
        enrollment_date=st.sampled_from([*DAYS, None]),
    ),
    # The day of an order never changes, so it is derived from the order's key. Any row may arrive late.
    st.integers(0, 5).flatmap(
        lambda order_id: rows(
            "retail.sales",
            order_id=st.just(order_id),
            product_id=st.integers(1, 2),
            customer_id=st.sampled_from([7, 7, 7, 7, None]),
            order_date_at=st.just(DAYS[order_id % 3]),
            quantity=st.sampled_from([1, 2, 3, 5, -1]),
            price=st.sampled_from([Decimal(price) for price in ("0.05", "0.15", "7.25", "19.99", "-1.00")] + [None]),
            discount=st.sampled_from([Decimal(discount) for discount in ("0", "0.05", "0.1", "0.3", "1.5")]),
            shipping_cost=st.sampled_from([Decimal("4.95"), None]),
            city=st.sampled_from(["Utrecht", "Málaga", None]),
        )
    ),
)
LOADS = st.lists(st.lists(ROWS, min_size=1, max_size=8), min_size=2, max_size=4)


@pytest.fixture(scope="module")
def live(project: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The warehouse in prod on gateway `live`, before the first row."""
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("live"), new_state(postgres))
    workspace.edit("config.yaml", ", read_only: true}", "}")  # here the test is the loader
    for entity in ("edtech__students", "edtech__courses", "edtech__enrollments", "retail__sales"):
        # A third of these rows is deleted within hours: raise the max_rate of the audit max_deletion_rate.
        workspace.edit(f"models/intermediate/int_{entity}_validated.sql", "max_rate := 0.2", "max_rate := 1")
    context = workspace.context("live")
    for fqn, model in context.models.items():
        if model.kind.is_external:
            context.engine_adapter.create_schema(fqn.rsplit(".", 1)[0])
            context.engine_adapter.create_table(fqn, model.columns_to_types)
    record_load(context, hour())
    plan(context, "prod")
    return context


def hour() -> datetime:
    return now().replace(minute=0, second=0, microsecond=0, tzinfo=None)


def record_load(context: Context, started_at: datetime) -> None:
    finished_at = started_at + timedelta(minutes=1)
    for source, table_name in (table.split(".") for table in KEYS):
        context.engine_adapter.execute(
            "INSERT INTO RAW.LOADER.LOADS (source, table_name, started_at, finished_at) "
            f"VALUES ('{source}', '{table_name}', '{started_at}', '{finished_at}')"
        )


def load(context: Context, batch: Iterable[Row], started_at: datetime) -> None:
    """Merge the newest version of each row by key, as the loader does, then record the load."""
    for row in batch:
        values = {**row.values, "updated_at": started_at, "_loaded_at": started_at}
        key = " AND ".join(f"{column} = {values[column]}" for column in KEYS[row.table])
        context.engine_adapter.cursor.execute(f"DELETE FROM RAW.{row.table} WHERE {key}")
        context.engine_adapter.cursor.execute(
            f"INSERT INTO RAW.{row.table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            list(values.values()),
        )
    record_load(context, started_at)


def contents(context: Context, model: str) -> list[tuple[object, ...]]:
    """The rows that count. A merge leaves locations without a sale behind, as rows of zeros."""
    table = context.get_snapshot(model, raise_if_missing=True).table_name()
    rows = context.engine_adapter.fetchall(f"SELECT * FROM {table} ORDER BY ALL")
    return [row for row in rows if not model.endswith("sales_aggregated") or row[3]]


def rebuilt(context: Context, model: str) -> list[tuple[object, ...]]:
    """The rows of the model's query over all intervals, computed from its upstream tables as they are."""
    query = context.get_model(model, raise_if_missing=True).render_query_or_raise(
        start="2026-01-01",
        end="2100-01-01",
        execution_time="2100-01-01",
        snapshots=context.snapshots,
        engine_adapter=context.engine_adapter,
    )
    rows = context.engine_adapter.fetchall(f"SELECT * FROM ({query.sql('duckdb')}) AS rebuilt ORDER BY ALL")
    return [row for row in rows if not model.endswith("sales_aggregated") or row[3]]


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def newest(loads: list[list[Row]], table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The final rows of a source table, by key."""
    rows = [row.values for load in loads for row in load if row.table == table]
    return {tuple(row[column] for column in KEYS[table]): row for row in rows}


def valid_enrollments(loads: list[list[Row]]) -> set[int]:
    """Keys of the valid enrollments, computed in Python from the source rows."""
    students = {
        student["student_id"]
        for student in newest(loads, "edtech.students").values()
        if student["first_name"] and not student["deleted_at"]
    }
    courses = {
        course["course_id"]
        for course in newest(loads, "edtech.courses").values()
        if course["course_name"] and course["credits"] and not course["deleted_at"]
    }
    return {
        enrollment["enrollment_id"]
        for enrollment in newest(loads, "edtech.enrollments").values()
        if enrollment["student_id"] in students
        and enrollment["course_id"] in courses
        and enrollment["enrollment_date"]
        and not enrollment["deleted_at"]
    }


def revenue_by_day(loads: list[list[Row]]) -> dict[object, Decimal]:
    """Net revenue of each day, computed likewise."""
    days: dict[object, Decimal] = {}
    for line in newest(loads, "retail.sales").values():
        price, quantity, discount = line["price"], line["quantity"], line["discount"]
        rejected = price is None or price < 0 or quantity <= 0 or discount > 1 or line["customer_id"] is None
        if not rejected and line["deleted_at"] is None:
            net = cents(quantity * price) - cents(quantity * price * discount)
            day = line["order_date_at"].date()
            days[day] = days.get(day, Decimal(0)) + net
    return days


HOURS, HISTORY_NUMBERS = count(1), count()
"""Each load starts an hour after the one before. Each history has a number, which shifts its keys and order days."""


@settings(max_examples=13, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(histories=st.lists(LOADS, min_size=2, max_size=2))
def test_every_incremental_table_equals_its_full_rebuild_and_the_source(
    live: Context, histories: list[list[list[Row]]]
) -> None:
    """Two histories end together and share their loads and runs, because each run takes seconds."""
    loads_by_history = {
        number: [[row.shift(number) for row in batch] for batch in loads]
        for loads, number in zip(histories, HISTORY_NUMBERS, strict=False)
    }
    load_count = max(map(len, histories))
    for batches in zip(*([[]] * (load_count - len(loads)) + loads for loads in loads_by_history.values()), strict=True):
        started_at = hour() + timedelta(hours=next(HOURS))
        load(live, chain.from_iterable(batches), started_at)
        run(live, at=started_at + timedelta(minutes=5), select=SELECTED)

    for model in INCREMENTAL:
        assert contents(live, model) == rebuilt(live, model), model
    served = dict(
        live.engine_adapter.fetchall(
            "SELECT order_date, SUM(net_revenue_amount) FROM retail.rpt_revenue_daily GROUP BY order_date"
        )
    )
    for number, loads in loads_by_history.items():
        enrollments = live.engine_adapter.fetchall(
            f"SELECT enrollment_id FROM edtech.fct_enrollment WHERE enrollment_id // 10 = {number}"
        )
        assert {enrollment_id for (enrollment_id,) in enrollments} == valid_enrollments(loads)
        days = {row.values["order_date_at"].date() for batch in loads for row in batch if row.table == "retail.sales"}
        assert {day: served[day] for day in days if day in served} == revenue_by_day(loads)


def test_a_warehouse_built_from_scratch_on_the_same_raw_has_the_same_rows(
    live: Context, postgres: Server, tmp_path: Path
) -> None:
    """After all the sequences above: how the incremental tables were filled makes no difference."""
    for catalog in ("RAW", "ANALYTICS"):
        live.engine_adapter.execute(f"CHECKPOINT {catalog}")
    workspace = Workspace(live.path.parent).clone(tmp_path, new_state(postgres))
    for file in (tmp_path / "data").glob("live_analytics*"):
        file.unlink()
    from_scratch = workspace.context("live")
    plan(from_scratch, "prod")
    for model in INCREMENTAL:
        assert contents(live, model) == contents(from_scratch, model), model
        assert len(contents(from_scratch, model)) > 10, f"{model} is too small to prove anything"


def test_a_run_fails_when_rows_are_missing_in_raw_and_the_marts_keep_theirs(live: Context) -> None:
    """Last in this file, because it leaves a broken RAW behind."""
    student = Row(
        "edtech.students",
        {"student_id": 999_999, "first_name": "Ada", "enrollment_date": DAYS[0], "deleted_at": None},
    )
    started_at = hour() + timedelta(hours=next(HOURS))
    load(live, [student], started_at)
    run(live, at=started_at + timedelta(minutes=5), select=["+edtech.dim_student"])
    count = "SELECT COUNT(*) FROM edtech.dim_student"
    before = live.engine_adapter.fetchone(count)

    live.engine_adapter.execute("DELETE FROM RAW.EDTECH.STUDENTS")
    started_at = hour() + timedelta(hours=next(HOURS))
    record_load(live, started_at)
    at = started_at + timedelta(minutes=5)
    status = live.run("prod", end=at, execution_time=at, select_models=["+edtech.dim_student"], skip_janitor=True)
    assert status.is_failure
    assert live.engine_adapter.fetchone(count) == before
    assert before is not None
    assert before[0] > 0
