"""The generated traffic: consistent, realistic, with injected faults, and safe to write from several processes."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import sqrt
from pathlib import Path
from typing import Any

import click
import numpy as np
import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from sources import SourceDatabase
from sqlmesh.core.context import Context
from workspace import Workspace, plan

from meshflow import reference_data
from meshflow.cli import main
from meshflow.source import traffic
from meshflow.source.server import Server
from meshflow.source.traffic import RowCounts, run_traffic, sale_rows, write_batch

NOW = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
TABLES = {
    "edtech.students": ("student_id",),
    "edtech.courses": ("course_id",),
    "edtech.enrollments": ("enrollment_id",),
    "retail.sales": ("order_id", "product_id"),
}
"""Key columns by source table."""

Row = dict[str, object]


def write(source: SourceDatabase, *, seed: int = 1, **options: Any) -> RowCounts:
    """Write and commit a batch."""
    with psycopg.connect(source.url) as connection:
        return write_batch(connection, np.random.default_rng(seed), **{"fault_rate": 0, "now": NOW, **options})


def rows(source: SourceDatabase, table: str) -> dict[tuple[object, ...], Row]:
    """The rows of the table by key."""
    with psycopg.connect(source.url) as connection:
        cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split("."))))
        names = [column.name for column in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor]
    return {tuple(row[column] for column in TABLES[table]): row for row in found}


def without_database_times(table: dict[tuple[object, ...], Row]) -> dict[tuple[object, ...], Row]:
    """The rows without the columns that the database sets from its clock."""
    return {
        key: {name: value for name, value in row.items() if name not in {"created_at", "updated_at"}}
        for key, row in table.items()
    }


@dataclass(frozen=True)
class History:
    """Hours of traffic without faults, and the rows of each table before and after the last batch."""

    source: SourceDatabase
    written: RowCounts
    """The sum of all batches."""
    last: RowCounts
    before: dict[str, dict[tuple[object, ...], Row]]
    after: dict[str, dict[tuple[object, ...], Row]]
    last_now: datetime


@pytest.fixture(scope="module")
def history(postgres: Server) -> History:
    source = SourceDatabase.new(postgres)
    earlier = [write(source, sales=3_000, seed=number, now=NOW + timedelta(hours=number)) for number in range(3)]
    before = {table: rows(source, table) for table in TABLES}
    last_now = NOW + timedelta(hours=4)
    last = write(source, sales=9_000, seed=4, now=last_now)
    after = {table: rows(source, table) for table in TABLES}
    return History(source, sum(earlier, start=last), last, before, after, last_now)


@dataclass(frozen=True)
class Change:
    before: Row
    after: Row

    @property
    def columns(self) -> set[str]:
        return {name for name, value in self.before.items() if value != self.after[name]}


def changes(history: History, table: str) -> list[Change]:
    """Earlier rows that the last batch changed."""
    before, after = history.before[table], history.after[table]
    return [Change(row, after[key]) for key, row in before.items() if row != after[key]]


def test_the_same_seed_time_and_rows_give_the_same_rows(postgres: Server) -> None:
    twins = [SourceDatabase.new(postgres), SourceDatabase.new(postgres)]
    for twin in twins:
        for number in range(3):
            write(twin, sales=2_000, seed=number, fault_rate=0.1, now=NOW + timedelta(minutes=number))
    for table in TABLES:
        one, other = (without_database_times(rows(twin, table)) for twin in twins)
        assert one == other
        assert len(one) > 20


def test_another_seed_gives_other_rows(postgres: Server) -> None:
    twins = [SourceDatabase.new(postgres), SourceDatabase.new(postgres)]
    for seed, twin in enumerate(twins):
        write(twin, sales=100, seed=seed)
    one, other = (without_database_times(rows(twin, "retail.sales")) for twin in twins)
    assert one != other


@pytest.mark.parametrize("sales", [0, 1, 2, 7, 200])
def test_a_batch_has_exactly_the_requested_number_of_order_lines(source: SourceDatabase, sales: int) -> None:
    written = write(source, sales=sales)
    assert written.sales == len(rows(source, "retail.sales")) == sales


def test_row_counts_match_the_tables(history: History) -> None:
    written = history.written
    new = (written.students, written.courses, written.enrollments, written.sales)
    assert new == tuple(len(history.after[table]) for table in TABLES)
    assert written.faulty == 0
    changed = [change for table in TABLES for change in changes(history, table)]
    cancelled = [change for change in changed if "deleted_at" in change.columns]
    assert history.last.cancelled == len(cancelled)
    # A row may be corrected twice or be corrected and then cancelled.
    assert len(changed) - len(cancelled) <= history.last.corrected <= len(changed) * 1.2
    assert written.rows == sum(new) + written.corrected + written.cancelled


def test_a_batch_that_is_rolled_back_leaves_no_rows(source: SourceDatabase) -> None:
    with psycopg.connect(source.url) as connection:
        write_batch(connection, np.random.default_rng(1), sales=500, fault_rate=0, now=NOW)
        assert connection.execute("SELECT count(*) FROM retail.sales").fetchone() == (500,)
        connection.rollback()
    assert {table: rows(source, table) for table in TABLES} == {table: {} for table in TABLES}
    write(source, sales=500)
    assert min(order_id for order_id, _ in rows(source, "retail.sales")) > 1  # at most a gap


def test_an_empty_database_gets_courses_that_have_ended_are_ongoing_and_are_yet_to_start(
    source: SourceDatabase,
) -> None:
    write(source, sales=10)
    today = NOW.date()
    courses = rows(source, "edtech.courses").values()
    statuses = Counter(
        "ended" if course["end_date"] < today else "ongoing" if course["start_date"] <= today else "to start"
        for course in courses
    )
    assert min(statuses["ended"], statuses["ongoing"], statuses["to start"]) >= 2
    assert {course["course_name"] for course in courses} == set(reference_data.COURSE_NAMES)


def test_an_empty_database_gets_a_year_of_enrollments(source: SourceDatabase) -> None:
    write(source, sales=10)
    days = {row["enrollment_date"] for row in rows(source, "edtech.enrollments").values()}
    assert min(days) < NOW.date() - timedelta(days=300)
    assert max(days) > NOW.date() - timedelta(days=30)
    assert len(days) > 100


def test_only_one_of_two_concurrent_batches_inserts_the_initial_rows(source: SourceDatabase) -> None:
    with psycopg.connect(source.url) as one, psycopg.connect(source.url) as other:
        written = [
            write_batch(connection, np.random.default_rng(1), sales=10, fault_rate=0, now=NOW)
            for connection in (one, other)
        ]
    assert [batch.courses for batch in written] == [len(reference_data.COURSE_NAMES), 0]
    assert len(rows(source, "edtech.courses")) == len(reference_data.COURSE_NAMES)


def test_attributes_of_ids_never_change() -> None:
    """Databases already contain rows with these attributes."""
    assert reference_data.customer(1) == ("Anneke Muñoz", "Winnipeg", "Manitoba", "Canada")
    assert reference_data.student(1) == ("Aisha", "Okafor", "aisha.okafor1@example.org", "Female")
    assert reference_data.course(27) == ("Algebra, from Scratch", "Lucía MacDonald", 3)
    assert reference_data.product(21) == ("Espresso Machine, Black", "Kitchen", Decimal("258.00"))


def test_products_differ_in_name_and_have_a_price_in_cents() -> None:
    products = [reference_data.product(number) for number in range(1, reference_data.PRODUCT_COUNT + 1)]
    assert len({product.product for product in products}) == reference_data.PRODUCT_COUNT == 320
    assert {product.list_price.as_tuple().exponent for product in products} == {-2}
    assert min(product.list_price for product in products) > 0


def test_the_first_products_are_those_of_the_sample() -> None:
    plain = [(name, category, str(price)) for name, category, price in map(reference_data.product, range(1, 21))]
    assert plain == list(reference_data.PRODUCTS)


def test_a_customer_keeps_name_and_location(history: History) -> None:
    sales = history.after["retail.sales"].values()
    customers = {
        (sale["customer_id"], sale["cust_name"], sale["city"], sale["province"], sale["country"]) for sale in sales
    }
    assert customers == {(customer_id, *reference_data.customer(customer_id)) for customer_id, *_ in customers}
    assert len(sales) > 1.1 * len(customers)  # some customers have several orders


def test_a_product_keeps_name_and_category(history: History) -> None:
    products = {
        (sale["product_id"], sale["product"], sale["product_category"])
        for sale in history.after["retail.sales"].values()
    }
    assert products == {(product_id, *reference_data.product(product_id)[:2]) for product_id, _, _ in products}
    assert len(products) == reference_data.PRODUCT_COUNT


def test_cities_are_in_provinces_of_the_province_seed(history: History, project: Path) -> None:
    with (project / "seeds/shared/ref_province.csv").open(encoding="utf-8", newline="") as file:
        known = {(row["country"], row["province"]) for row in csv.DictReader(file)}
    sales = history.after["retail.sales"].values()
    locations = {(sale["city"], sale["country"], sale["province"]) for sale in sales}
    assert {location[1:] for location in locations} <= known
    assert len({city for city, _, _ in locations}) == len(locations) == len(reference_data.LOCATIONS)


def test_the_province_seed_has_every_province_of_its_countries(project: Path) -> None:
    """ISO 3166-2: 10 provinces and 3 territories; 12 provinces; 50 provinces and 2 cities."""
    with (project / "seeds/shared/ref_province.csv").open(encoding="utf-8", newline="") as file:
        provinces = {(row["country"], row["province"]) for row in csv.DictReader(file)}
    assert Counter(country for country, _ in provinces) == {"Canada": 13, "Netherlands": 12, "Spain": 52}
    territories = {("Canada", name) for name in ("Yukon", "Northwest Territories", "Nunavut")}
    assert territories <= provinces


def test_an_order_has_one_customer_time_and_city_and_up_to_three_products(history: History) -> None:
    orders = Counter(order_id for order_id, _ in history.after["retail.sales"])
    shared = {
        tuple(sale[column] for column in ("order_id", "customer_id", "order_date_at", "purchased_at", "city"))
        for sale in history.after["retail.sales"].values()
    }
    assert len(shared) == len(orders)
    assert set(orders.values()) == {1, 2, 3}


def test_prices_are_in_cents_and_within_a_tenth_of_the_list_price(history: History) -> None:
    at_list_price = 0
    sales = history.after["retail.sales"].values()
    for sale in sales:
        list_price = reference_data.product(sale["product_id"]).list_price
        cent = Decimal("0.01")
        possible = {(list_price * percent + Decimal("0.5")) // 1 * cent for percent in range(90, 111)}
        assert sale["price"] in possible
        at_list_price += sale["price"] == list_price
    assert 0.5 < at_list_price / len(sales) < 0.75


def test_amounts_are_decimals_and_never_nan() -> None:
    columns = sale_rows(np.random.default_rng(1), 5_000, np.arange, now=NOW, days=0)
    assert all(re.fullmatch(r"\d+\.\d\d", price) for price in columns["price"])
    assert set(columns["discount"]) == set(reference_data.DISCOUNTS)
    assert set(columns["shipping_cost"]) == set(reference_data.SHIPPING_COSTS)


def test_orders_are_minutes_old_but_for_a_few_that_arrive_late(source: SourceDatabase) -> None:
    write(source, sales=5_000)
    ages = [NOW - sale["order_date_at"] for sale in rows(source, "retail.sales").values()]
    late = [age for age in ages if age >= timedelta(minutes=5)]
    assert min(ages) >= timedelta(0)
    assert all(timedelta(hours=1) <= age <= timedelta(days=3) for age in late)
    assert 0.01 < len(late) / len(ages) < 0.03


def test_days_spread_orders_and_enrollments_over_the_past(source: SourceDatabase) -> None:
    write(source, sales=1)
    initial = rows(source, "edtech.enrollments")
    write(source, sales=5_000, seed=2, days=30)
    ages = Counter((NOW - sale["order_date_at"]).days for sale in rows(source, "retail.sales").values())
    assert set(ages) == set(range(30))
    assert max(ages.values()) < 2 * min(ages.values())
    enrolled = {row["enrollment_date"] for key, row in rows(source, "edtech.enrollments").items() if key not in initial}
    assert min(enrolled) == NOW.date() - timedelta(days=30)
    assert len(enrolled) > 25


def test_orders_are_paid_after_they_are_placed_and_before_they_are_written(history: History) -> None:
    for sale in history.after["retail.sales"].values():
        assert sale["order_date_at"] <= sale["purchased_at"] <= history.last_now


def test_students_are_16_to_48_years_old_when_they_sign_up(history: History) -> None:
    for student in history.after["edtech.students"].values():
        assert 16 * 365 <= (student["enrollment_date"] - student["date_of_birth"]).days < 48 * 366
        assert student["enrollment_date"] <= history.last_now.date()


def test_enrollments_are_after_the_sign_up_and_while_the_course_accepts_them(history: History) -> None:
    students, courses = history.after["edtech.students"], history.after["edtech.courses"]
    for enrollment in history.after["edtech.enrollments"].values():
        student, course = students[(enrollment["student_id"],)], courses[(enrollment["course_id"],)]
        day = enrollment["enrollment_date"]
        assert student["enrollment_date"] <= day <= min(course["end_date"], history.last_now.date())
        assert day >= course["start_date"] - timedelta(days=traffic.ENROLLMENT_LEAD_DAYS)


def test_an_enrollment_in_a_batch_without_days_is_of_today(history: History) -> None:
    new = history.after["edtech.enrollments"].keys() - history.before["edtech.enrollments"].keys()
    days = {history.after["edtech.enrollments"][key]["enrollment_date"] for key in new}
    assert days == {history.last_now.date()}


def test_the_database_updates_updated_at_of_changed_rows_only(history: History) -> None:
    for table in TABLES:
        changed = changes(history, table)
        assert changed
        newest = max(row["updated_at"] for row in history.before[table].values())
        assert all(change.after["updated_at"] > newest for change in changed)
        assert all(change.after["created_at"] == change.before["created_at"] for change in changed)


def test_corrections_change_quantity_discount_and_shipping_and_never_the_order_date(history: History) -> None:
    changed = set().union(*(change.columns for change in changes(history, "retail.sales")))
    assert changed == {"quantity", "discount", "shipping_cost", "deleted_at", "updated_at"}


def test_corrections_change_last_name_and_email_of_students(history: History) -> None:
    corrected = [change for change in changes(history, "edtech.students") if "deleted_at" not in change.columns]
    changed = {frozenset(change.columns - {"updated_at"}) for change in corrected}
    assert changed >= {frozenset({"last_name"}), frozenset({"email"})}
    assert changed <= {frozenset({"last_name"}), frozenset({"email"}), frozenset({"last_name", "email"}), frozenset()}


def test_corrections_extend_only_courses_that_have_not_ended(history: History) -> None:
    for change in changes(history, "edtech.courses"):
        assert change.columns == {"end_date", "updated_at"}
        assert change.before["end_date"] >= history.last_now.date()
        assert change.after["end_date"] > change.before["end_date"]


def test_sales_enrollments_and_students_are_soft_deleted_once(history: History) -> None:
    for table in ("retail.sales", "edtech.enrollments", "edtech.students"):
        deleted = [change for change in changes(history, table) if "deleted_at" in change.columns]
        assert deleted
        assert all(change.before["deleted_at"] is None for change in deleted)
        assert {change.after["deleted_at"] for change in deleted} == {history.last_now}
        assert len(deleted) < 0.2 * len(history.before[table])  # where the audit max_deletion_rate stops a run


def test_the_enrollments_of_a_student_who_leaves_are_deleted_too(history: History) -> None:
    left = {key[0] for key, row in history.after["edtech.students"].items() if row["deleted_at"]}
    enrollments = [row for row in history.after["edtech.enrollments"].values() if row["student_id"] in left]
    assert enrollments
    assert all(row["deleted_at"] for row in enrollments)


IMPOSSIBLE = {
    "missing_student_id", "missing_course_id", "missing_enrollment_id", "missing_order_id", "missing_product_id",
    "duplicate_student_id", "duplicate_course_id", "duplicate_enrollment_id", "duplicate_order_line",
}  # fmt: skip
"""Reject reasons that can't occur in a database with primary keys."""


def build_warehouse(source: SourceDatabase, built: Workspace, root: Path) -> Context:
    """prod, built from all rows of the source."""
    workspace = built.clone(root, data=False)
    for table in TABLES:
        seed = workspace.path / f"seeds/{table.replace('.', '/')}.csv"
        header = seed.read_text(encoding="utf-8").partition("\n")[0]
        columns = header.replace("_deleted_at,_loaded_at", "NULL AS _deleted_at, now() AS _loaded_at")
        with psycopg.connect(source.url, options="-c timezone=UTC -c datestyle=ISO") as connection:
            query = f"COPY (SELECT {columns} FROM {table}) TO STDOUT (FORMAT csv)"
            with connection.cursor().copy(query.encode()) as copy:
                content = b"".join(map(bytes, copy)).replace(b"+00", b"")
        seed.write_bytes(f"{header}\n".encode() + content)
    context = workspace.context()
    plan(context, "prod")
    return context


@pytest.fixture(scope="module")
def clean_warehouse(postgres: Server, built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A warehouse of three batches without faults. Building it runs every audit."""
    source = SourceDatabase.new(postgres)
    for number in range(3):
        write(source, sales=5_000, seed=number, now=datetime.now(UTC))
    context = build_warehouse(source, built, tmp_path_factory.mktemp("clean"))
    yield context
    context.close()


FAULT_RATE = 0.2


@dataclass(frozen=True)
class FaultyWarehouse:
    warehouse: Context
    written: RowCounts


@pytest.fixture(scope="module")
def faulty_warehouse(
    postgres: Server, built: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyWarehouse]:
    """A warehouse of a batch with a fault in a fifth of its rows."""
    source = SourceDatabase.new(postgres)
    write(source, sales=0, now=datetime.now(UTC))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traffic, "NEW_COURSES", 1 / 25)  # so many that every fault of a course occurs
        written = write(source, sales=10_000, now=datetime.now(UTC), fault_rate=FAULT_RATE)
    context = build_warehouse(source, built, tmp_path_factory.mktemp("faulty"))
    yield FaultyWarehouse(context, written)
    context.close()


def fetch(warehouse: Context, query: str) -> list[tuple[object, ...]]:
    return list(warehouse.engine_adapter.fetchall(query))


def test_the_warehouse_rejects_no_row_without_faults(clean_warehouse: Context) -> None:
    for table in ("edtech_student", "edtech_course", "edtech_enrollment", "retail_sales"):
        assert fetch(clean_warehouse, f"SELECT * FROM quarantine.{table} WHERE NOT is_deleted") == []
    assert fetch(clean_warehouse, "SELECT COUNT(*) > 14000 FROM retail.fct_sales") == [(True,)]


def test_the_warehouse_flags_no_row_without_faults(clean_warehouse: Context) -> None:
    assert fetch(clean_warehouse, "SELECT * FROM intermediate.int_retail__sales_validated WHERE is_free") == []
    assert (
        fetch(clean_warehouse, "SELECT * FROM edtech.fct_enrollment WHERE is_before_sign_up OR is_after_course_end")
        == []
    )
    assert fetch(clean_warehouse, "SELECT * FROM shared.dim_location WHERE region = 'Unknown'") == []


def test_every_reject_reason_that_is_possible_with_keys_occurs(faulty_warehouse: FaultyWarehouse) -> None:
    defined = fetch(faulty_warehouse.warehouse, "SELECT source_table, reject_reason FROM ops.ref_reject_reason")
    occurring = fetch(faulty_warehouse.warehouse, "SELECT DISTINCT source_table, reject_reason FROM ops.rejected_rows")
    assert set(occurring) == {row for row in defined if row[1] not in IMPOSSIBLE}


def test_flagged_rows_occur_that_are_not_rejected(faulty_warehouse: FaultyWarehouse) -> None:
    warehouse = faulty_warehouse.warehouse
    assert fetch(warehouse, "SELECT * FROM intermediate.int_retail__sales_validated WHERE is_valid AND is_free")
    assert fetch(warehouse, "SELECT * FROM edtech.fct_enrollment WHERE is_before_sign_up")
    assert fetch(warehouse, "SELECT * FROM shared.dim_location WHERE city = 'Unknown'")
    assert fetch(warehouse, "SELECT * FROM shared.dim_location WHERE province = 'Atlantis'")
    assert fetch(warehouse, "SELECT * FROM pii.student WHERE email IS NULL")


def test_the_share_of_faulty_rows_is_the_fault_rate(faulty_warehouse: FaultyWarehouse) -> None:
    written = faulty_warehouse.written
    new = written.sales + written.students + written.courses + written.enrollments
    assert abs(written.faulty - FAULT_RATE * new) < 5 * sqrt(FAULT_RATE * (1 - FAULT_RATE) * new)
    [(rejected,)] = fetch(faulty_warehouse.warehouse, "SELECT COUNT(*) FROM quarantine.retail_sales")
    rejected_share = FAULT_RATE * 15 / 19  # the warehouse only flags the other four kinds of fault
    assert abs(int(str(rejected)) - rejected_share * written.sales) < 5 * sqrt(rejected_share * written.sales)


@pytest.mark.parametrize("fault_rate", [0, 1])
def test_fault_rates_0_and_1_apply_to_all_new_rows_but_not_to_initial_ones(
    source: SourceDatabase, fault_rate: int
) -> None:
    initial = write(source, sales=0, fault_rate=fault_rate)
    assert (initial.rows > 0, initial.faulty) == (True, 0)
    written = write(source, sales=500, seed=2, fault_rate=fault_rate)
    assert written.faulty == fault_rate * (written.sales + written.students + written.courses + written.enrollments)


def test_concurrent_batches_do_not_wait_for_each_other(source: SourceDatabase) -> None:
    write(source, sales=1_000)
    with psycopg.connect(source.url) as one, psycopg.connect(source.url) as other:
        for connection in (one, other, one, other):  # the same recent rows, changed by both
            connection.execute("SET LOCAL lock_timeout = '100ms'")
            written = write_batch(connection, np.random.default_rng(1), sales=1_000, fault_rate=0, now=NOW)
            assert written.sales == 1_000
    assert len(rows(source, "retail.sales")) == 5_000


def test_concurrent_generators_use_different_ids(source: SourceDatabase) -> None:
    def generate(seed: int) -> RowCounts:
        return sum((write(source, sales=300, seed=seed + number) for number in range(5)), RowCounts())

    with ThreadPoolExecutor() as threads:
        written = sum(threads.map(generate, (0, 100, 200)), RowCounts())
    assert written.sales == 4_500
    for table, count in (
        ("retail.sales", written.sales),
        ("edtech.students", written.students),
        ("edtech.courses", written.courses),
        ("edtech.enrollments", written.enrollments),
    ):
        assert len(rows(source, table)) == count


def table_sizes(source: SourceDatabase) -> tuple[int, ...]:
    return tuple(len(rows(source, table)) for table in TABLES)


def run(source: SourceDatabase, *, batches: int, sales: int = 50) -> tuple[RowCounts, list[RowCounts]]:
    committed: list[RowCounts] = []
    total = run_traffic(
        source.url, sales=sales, batches=batches, every=0, seed=1, fault_rate=0.02, days=0, on_batch=committed.append
    )
    return total, committed


@pytest.mark.parametrize("batches", [1, 4, 5, 11])
def test_every_batch_is_reported_and_their_sum_matches_the_tables(source: SourceDatabase, batches: int) -> None:
    total, committed = run(source, batches=batches)
    assert len(committed) == batches
    assert total == sum(committed, RowCounts())
    assert table_sizes(source) == (total.students, total.courses, total.enrollments, total.sales)
    assert total.sales == 50 * batches


def test_the_fifth_batch_is_committed_after_the_sixth(source: SourceDatabase) -> None:
    newest: list[set[object]] = []

    def record_visible_rows(_: RowCounts) -> None:
        newest.append(set(rows(source, "retail.sales")))

    run_traffic(source.url, sales=10, batches=7, every=0, seed=1, fault_rate=0, days=0, on_batch=record_visible_rows)
    visible = [max(order_id for order_id, _ in seen) for seen in newest]
    assert len(newest) == 7
    assert visible[:5] == sorted(visible[:5])
    sixth, fifth = newest[4] - newest[3], newest[5] - newest[4]
    assert len(fifth) == len(sixth) == 10
    assert max(fifth) < min(sixth)


def test_a_database_without_tables_gives_a_one_line_error(postgres: Server) -> None:
    url = postgres.url("postgres", "postgres")
    with pytest.raises(click.ClickException) as error:
        run_traffic(url, sales=1, batches=1, every=0, seed=1, fault_rate=0, days=0, on_batch=print)
    assert error.value.message.endswith("doesn't have the demo's tables: run `meshflow source install-demo`")
    assert "\n" not in error.value.message


def test_a_rejected_batch_leaves_no_rows_and_gives_a_one_line_error(source: SourceDatabase) -> None:
    source.execute("ALTER TABLE retail.sales ADD CONSTRAINT shut CHECK (false)")
    with pytest.raises(click.ClickException, match=r"rejected the batch: CheckViolation") as error:
        run(source, batches=1)
    assert "\n" not in error.value.message
    assert table_sizes(source) == (0, 0, 0, 0)


GENERATE = """
import sys
from dataclasses import asdict
from json import dumps
from meshflow.source.traffic import run_traffic

def report(row_counts):
    print("committed", flush=True)

url, sales, every = sys.argv[1:]
options = {"batches": None, "seed": 1, "fault_rate": 0, "days": 0}
total = run_traffic(url, sales=int(sales), every=float(every), on_batch=report, **options)
print(dumps(asdict(total)), flush=True)
"""


@contextmanager
def generator(source: SourceDatabase, *, sales: int, every: float) -> Iterator[subprocess.Popen[str]]:
    """An unlimited generator in another process that has committed a batch."""
    command = [sys.executable, "-c", GENERATE, source.url, str(sales), str(every)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "committed\n"
            yield process
        finally:
            process.kill()


def wait_until(source: SourceDatabase, condition: str) -> None:
    """Wait until the SQL `condition` is true for the other sessions of the source database."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while source.execute(f"SELECT {condition} {others}") != [(True,)]:
        time.sleep(0.005)


COPYING = "count(*) FILTER (WHERE state = 'active' AND query LIKE 'COPY%sales%') > 0"
OPEN = "count(*) FILTER (WHERE state = 'idle in transaction' AND now() - state_change > '0.1s') > 0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("sales", "every", "condition"),
    [
        pytest.param(50, 3600, "count(*) = 2", id="between batches"),
        pytest.param(20_000, 0, COPYING, id="within a batch"),
        pytest.param(50, 0.3, OPEN, id="with a batch open"),
    ],
)
def test_after_a_signal_every_batch_is_complete_and_counted(
    source: SourceDatabase, number: signal.Signals, sales: int, every: float, condition: str
) -> None:
    with generator(source, sales=sales, every=every) as process:
        wait_until(source, condition)
        process.send_signal(number)
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    total = RowCounts(**json.loads(output.splitlines()[-1]))
    assert table_sizes(source) == (total.students, total.courses, total.enrollments, total.sales)
    assert total.sales == sales * (output.count("committed") + 1)


def test_a_killed_generator_leaves_complete_batches(source: SourceDatabase) -> None:
    with generator(source, sales=20_000, every=0) as process:
        wait_until(source, COPYING)
        process.kill()
    wait_until(source, "count(*) = 0")
    orders = [row["created_at"] for row in rows(source, "retail.sales").values()]
    assert len(orders) >= 20_000
    assert len(orders) % 20_000 == 0


def test_the_command_writes_the_same_rows_with_the_same_seed_and_time(postgres: Server) -> None:
    arguments = ["generate", "--sales", "30", "--batches", "7", "--every", "0.1", "--seed", "5", "--at", "2026-11-01"]
    rows = []
    for _ in range(2):
        source = SourceDatabase.new(postgres)
        result = CliRunner(env=source.environment).invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        assert re.search(r"^7 batches committed: 210 order lines, ", result.stdout, re.MULTILINE)
        rows.append(
            source.execute("SELECT to_jsonb(s) - '{created_at,updated_at}'::text[] FROM retail.sales AS s ORDER BY 1")
        )
    assert rows[0] == rows[1]
    assert len(rows[0]) == 210


@pytest.mark.parametrize(
    "option", [("--sales", "0"), ("--fault-rate", "1.1"), ("--batches", "0"), ("--days", "-1"), ("--every", "-1")]
)
def test_the_command_rejects_invalid_options(option: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["generate", *option])
    assert result.exit_code == 2
    assert f"Invalid value for '{option[0]}'" in result.stderr
