"""The traffic in the sources: consistent, believable, faulty on purpose, and safe to write from several places."""

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
from sources import Sources
from sqlmesh.core.context import Context
from workspace import Workspace, plan

from meshflow import reference_data
from meshflow.cli import main
from meshflow.source import traffic
from meshflow.source.server import Server
from meshflow.source.traffic import Written, run_traffic, sale_rows, write_batch

NOW = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
TABLES = {
    "edtech.students": ("student_id",),
    "edtech.courses": ("course_id",),
    "edtech.enrollments": ("enrollment_id",),
    "retail.sales": ("order_id", "product_id"),
}
"""Tables of the sources, by their keys."""

Row = dict[str, object]


def write(source: Sources, *, seed: int = 1, **options: Any) -> Written:
    """A batch, committed."""
    with psycopg.connect(source.url) as connection:
        return write_batch(connection, np.random.default_rng(seed), **{"fault_rate": 0, "now": NOW, **options})


def rows(source: Sources, table: str) -> dict[tuple[object, ...], Row]:
    """What the table holds, by key."""
    with psycopg.connect(source.url) as connection:
        cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split("."))))
        names = [column.name for column in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor]
    return {tuple(row[column] for column in TABLES[table]): row for row in found}


def business(table: dict[tuple[object, ...], Row]) -> dict[tuple[object, ...], Row]:
    """Without the times that the database sets by its clock."""
    return {
        key: {name: value for name, value in row.items() if name not in {"created_at", "updated_at"}}
        for key, row in table.items()
    }


@dataclass(frozen=True)
class History:
    """A day of faultless traffic, and what each table held before and after its last batch."""

    source: Sources
    written: Written
    """By all batches."""
    last: Written
    before: dict[str, dict[tuple[object, ...], Row]]
    after: dict[str, dict[tuple[object, ...], Row]]
    last_now: datetime


@pytest.fixture(scope="module")
def history(postgres: Server) -> History:
    source = Sources.new(postgres)
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
    """Rows that were there before the last batch, and that it changed."""
    before, after = history.before[table], history.after[table]
    return [Change(row, after[key]) for key, row in before.items() if row != after[key]]


def test_the_same_seed_moment_and_rows_give_the_same_rows(postgres: Server) -> None:
    twins = [Sources.new(postgres), Sources.new(postgres)]
    for twin in twins:
        for number in range(3):
            write(twin, sales=2_000, seed=number, fault_rate=0.1, now=NOW + timedelta(minutes=number))
    for table in TABLES:
        one, other = (business(rows(twin, table)) for twin in twins)
        assert one == other
        assert len(one) > 20


def test_another_seed_gives_other_rows(postgres: Server) -> None:
    twins = [Sources.new(postgres), Sources.new(postgres)]
    for seed, twin in enumerate(twins):
        write(twin, sales=100, seed=seed)
    one, other = (business(rows(twin, "retail.sales")) for twin in twins)
    assert one != other


@pytest.mark.parametrize("sales", [0, 1, 2, 7, 200])
def test_a_batch_has_exactly_as_many_order_lines_as_asked_for(source: Sources, sales: int) -> None:
    written = write(source, sales=sales)
    assert written.sales == len(rows(source, "retail.sales")) == sales


def test_the_count_of_what_was_written_is_what_the_tables_hold(history: History) -> None:
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


def test_a_batch_that_is_rolled_back_leaves_nothing(source: Sources) -> None:
    with psycopg.connect(source.url) as connection:
        write_batch(connection, np.random.default_rng(1), sales=500, fault_rate=0, now=NOW)
        assert connection.execute("SELECT count(*) FROM retail.sales").fetchone() == (500,)
        connection.rollback()
    assert {table: rows(source, table) for table in TABLES} == {table: {} for table in TABLES}
    write(source, sales=500)
    assert min(order_id for order_id, _ in rows(source, "retail.sales")) > 1  # at most a gap


def test_an_empty_database_gets_courses_that_have_ended_are_ongoing_and_are_yet_to_start(source: Sources) -> None:
    write(source, sales=10)
    today = NOW.date()
    courses = rows(source, "edtech.courses").values()
    statuses = Counter(
        "ended" if course["end_date"] < today else "ongoing" if course["start_date"] <= today else "to start"
        for course in courses
    )
    assert min(statuses["ended"], statuses["ongoing"], statuses["to start"]) >= 2
    assert {course["course_name"] for course in courses} == set(reference_data.COURSE_NAMES)


def test_an_empty_database_gets_a_year_of_enrollments(source: Sources) -> None:
    write(source, sales=10)
    days = {row["enrollment_date"] for row in rows(source, "edtech.enrollments").values()}
    assert min(days) < NOW.date() - timedelta(days=300)
    assert max(days) > NOW.date() - timedelta(days=30)
    assert len(days) > 100


def test_of_two_generators_that_meet_an_empty_database_one_founds_it(source: Sources) -> None:
    with psycopg.connect(source.url) as one, psycopg.connect(source.url) as other:
        written = [
            write_batch(connection, np.random.default_rng(1), sales=10, fault_rate=0, now=NOW)
            for connection in (one, other)
        ]
    assert [batch.courses for batch in written] == [len(reference_data.COURSE_NAMES), 0]
    assert len(rows(source, "edtech.courses")) == len(reference_data.COURSE_NAMES)


def test_facts_never_change() -> None:
    """Rows that are in somebody's database follow from them."""
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


def test_a_customer_keeps_name_and_place(history: History) -> None:
    sales = history.after["retail.sales"].values()
    places = {
        (sale["customer_id"], sale["cust_name"], sale["city"], sale["province"], sale["country"]) for sale in sales
    }
    assert places == {(customer_id, *reference_data.customer(customer_id)) for customer_id, *_ in places}
    assert len(sales) > 1.1 * len(places)  # or nobody came back


def test_a_product_keeps_name_and_category(history: History) -> None:
    products = {
        (sale["product_id"], sale["product"], sale["product_category"])
        for sale in history.after["retail.sales"].values()
    }
    assert products == {(product_id, *reference_data.product(product_id)[:2]) for product_id, _, _ in products}
    assert len(products) == reference_data.PRODUCT_COUNT


def test_cities_lie_in_provinces_that_the_warehouse_knows(history: History, project: Path) -> None:
    with (project / "seeds/shared/ref_province.csv").open(encoding="utf-8", newline="") as file:
        known = {(row["country"], row["province"]) for row in csv.DictReader(file)}
    sales = history.after["retail.sales"].values()
    places = {(sale["city"], sale["country"], sale["province"]) for sale in sales}
    assert {place[1:] for place in places} <= known
    assert len({city for city, _, _ in places}) == len(places) == len(reference_data.PLACES)


def test_an_order_has_one_customer_time_and_place_and_up_to_three_products(history: History) -> None:
    orders = Counter(order_id for order_id, _ in history.after["retail.sales"])
    shared = {
        tuple(sale[column] for column in ("order_id", "customer_id", "order_date_at", "purchased_at", "city"))
        for sale in history.after["retail.sales"].values()
    }
    assert len(shared) == len(orders)
    assert set(orders.values()) == {1, 2, 3}


def test_prices_are_cents_at_or_within_a_tenth_of_the_list_price(history: History) -> None:
    at_list_price = 0
    sales = history.after["retail.sales"].values()
    for sale in sales:
        list_price = reference_data.product(sale["product_id"]).list_price
        cent = Decimal("0.01")
        possible = {(list_price * percent + Decimal("0.5")) // 1 * cent for percent in range(90, 111)}
        assert sale["price"] in possible
        at_list_price += sale["price"] == list_price
    assert 0.5 < at_list_price / len(sales) < 0.75


def test_money_is_written_as_decimals_and_never_nan() -> None:
    columns = sale_rows(np.random.default_rng(1), 5_000, np.arange, now=NOW, days=0)
    assert all(re.fullmatch(r"\d+\.\d\d", price) for price in columns["price"])
    assert set(columns["discount"]) == set(reference_data.DISCOUNTS)
    assert set(columns["shipping_cost"]) == set(reference_data.SHIPPING_COSTS)


def test_orders_are_minutes_old_but_for_a_few_that_arrive_late(source: Sources) -> None:
    write(source, sales=5_000)
    ages = [NOW - sale["order_date_at"] for sale in rows(source, "retail.sales").values()]
    late = [age for age in ages if age >= timedelta(minutes=5)]
    assert min(ages) >= timedelta(0)
    assert all(timedelta(hours=1) <= age <= timedelta(days=3) for age in late)
    assert 0.01 < len(late) / len(ages) < 0.03


def test_days_spread_orders_and_enrollments_over_the_past(source: Sources) -> None:
    write(source, sales=1)
    founding = rows(source, "edtech.enrollments")
    write(source, sales=5_000, seed=2, days=30)
    ages = Counter((NOW - sale["order_date_at"]).days for sale in rows(source, "retail.sales").values())
    assert set(ages) == set(range(30))
    assert max(ages.values()) < 2 * min(ages.values())
    enrolled = {
        row["enrollment_date"] for key, row in rows(source, "edtech.enrollments").items() if key not in founding
    }
    assert min(enrolled) == NOW.date() - timedelta(days=30)
    assert len(enrolled) > 25


def test_orders_are_paid_after_they_are_placed_and_before_they_are_written(history: History) -> None:
    for sale in history.after["retail.sales"].values():
        assert sale["order_date_at"] <= sale["purchased_at"] <= history.last_now


def test_students_are_of_age_to_study_when_they_sign_up(history: History) -> None:
    for student in history.after["edtech.students"].values():
        assert 16 * 365 <= (student["enrollment_date"] - student["date_of_birth"]).days < 48 * 366
        assert student["enrollment_date"] <= history.last_now.date()


def test_enrollments_are_of_students_there_in_courses_that_take_them(history: History) -> None:
    students, courses = history.after["edtech.students"], history.after["edtech.courses"]
    for enrollment in history.after["edtech.enrollments"].values():
        student, course = students[(enrollment["student_id"],)], courses[(enrollment["course_id"],)]
        day = enrollment["enrollment_date"]
        assert student["enrollment_date"] <= day <= min(course["end_date"], history.last_now.date())
        assert day >= course["start_date"] - timedelta(days=traffic.ENROLLS_AHEAD)


def test_an_enrollment_in_a_batch_without_days_is_of_today(history: History) -> None:
    new = history.after["edtech.enrollments"].keys() - history.before["edtech.enrollments"].keys()
    days = {history.after["edtech.enrollments"][key]["enrollment_date"] for key in new}
    assert days == {history.last_now.date()}


def test_the_database_notes_when_a_row_changed_and_leaves_the_others(history: History) -> None:
    for table in TABLES:
        changed = changes(history, table)
        assert changed
        newest = max(row["updated_at"] for row in history.before[table].values())
        assert all(change.after["updated_at"] > newest for change in changed)
        assert all(change.after["created_at"] == change.before["created_at"] for change in changed)


def test_corrections_change_quantity_discount_and_shipping_and_never_the_order_date(history: History) -> None:
    changed = set().union(*(change.columns for change in changes(history, "retail.sales")))
    assert changed == {"quantity", "discount", "shipping_cost", "deleted_at", "updated_at"}


def test_corrections_change_family_name_and_email_of_students(history: History) -> None:
    corrected = [change for change in changes(history, "edtech.students") if "deleted_at" not in change.columns]
    changed = {frozenset(change.columns - {"updated_at"}) for change in corrected}
    assert changed >= {frozenset({"last_name"}), frozenset({"email"})}
    assert changed <= {frozenset({"last_name"}), frozenset({"email"}), frozenset({"last_name", "email"}), frozenset()}


def test_corrections_make_courses_longer_and_only_those_that_have_not_ended(history: History) -> None:
    for change in changes(history, "edtech.courses"):
        assert change.columns == {"end_date", "updated_at"}
        assert change.before["end_date"] >= history.last_now.date()
        assert change.after["end_date"] > change.before["end_date"]


def test_sales_enrollments_and_students_are_deleted_now_and_stay_deleted(history: History) -> None:
    for table in ("retail.sales", "edtech.enrollments", "edtech.students"):
        deleted = [change for change in changes(history, table) if "deleted_at" in change.columns]
        assert deleted
        assert all(change.before["deleted_at"] is None for change in deleted)
        assert {change.after["deleted_at"] for change in deleted} == {history.last_now}
        assert len(deleted) < 0.2 * len(history.before[table])  # where the audit max_deletion_rate stops a run


def test_a_student_who_leaves_takes_the_enrollments_along(history: History) -> None:
    left = {key[0] for key, row in history.after["edtech.students"].items() if row["deleted_at"]}
    enrollments = [row for row in history.after["edtech.enrollments"].values() if row["student_id"] in left]
    assert enrollments
    assert all(row["deleted_at"] for row in enrollments)


IMPOSSIBLE = {
    "missing_student_id", "missing_course_id", "missing_enrollment_id", "missing_order_id", "missing_product_id",
    "duplicate_student_id", "duplicate_course_id", "duplicate_enrollment_id", "duplicate_order_line",
}  # fmt: skip
"""Reasons that no row of a database with keys can give."""


def validate(source: Sources, built: Workspace, root: Path) -> Context:
    """prod, built from everything that the sources hold."""
    workspace = built.clone(root, data=False)
    for table in TABLES:
        seed = workspace.path / f"seeds/{table.replace('.', '/')}.csv"
        header = seed.read_text(encoding="utf-8").partition("\n")[0]
        columns = header.replace("_loaded_at", "now() AS _loaded_at")
        with psycopg.connect(source.url, options="-c timezone=UTC -c datestyle=ISO") as connection:
            query = f"COPY (SELECT {columns} FROM {table}) TO STDOUT (FORMAT csv)"
            with connection.cursor().copy(query.encode()) as copy:
                content = b"".join(map(bytes, copy)).replace(b"+00", b"")
        seed.write_bytes(f"{header}\n".encode() + content)
    context = workspace.context()
    plan(context, "prod")
    return context


@pytest.fixture(scope="module")
def validated_clean(postgres: Server, built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The warehouse of three faultless batches. Building it runs every audit."""
    source = Sources.new(postgres)
    for number in range(3):
        write(source, sales=5_000, seed=number, now=datetime.now(UTC))
    context = validate(source, built, tmp_path_factory.mktemp("clean"))
    yield context
    context.close()


FAULT_RATE = 0.2


@dataclass(frozen=True)
class Faulty:
    warehouse: Context
    written: Written


@pytest.fixture(scope="module")
def validated_faulty(postgres: Server, built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """The warehouse of a batch of which a fifth is faulty."""
    source = Sources.new(postgres)
    write(source, sales=0, now=datetime.now(UTC))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traffic, "NEW_COURSES", 1 / 25)  # so many that every fault of a course occurs
        written = write(source, sales=10_000, now=datetime.now(UTC), fault_rate=FAULT_RATE)
    context = validate(source, built, tmp_path_factory.mktemp("dirty"))
    yield Faulty(context, written)
    context.close()


def fetch(warehouse: Context, query: str) -> list[tuple[object, ...]]:
    return list(warehouse.engine_adapter.fetchall(query))


def test_the_warehouse_rejects_nothing_when_there_is_no_dirt(validated_clean: Context) -> None:
    for table in ("edtech_student", "edtech_course", "edtech_enrollment", "retail_sales"):
        assert fetch(validated_clean, f"SELECT * FROM quarantine.{table} WHERE NOT is_deleted") == []
    assert fetch(validated_clean, "SELECT COUNT(*) > 14000 FROM retail.fct_sales") == [(True,)]


def test_the_warehouse_finds_nothing_odd_when_there_is_no_dirt(validated_clean: Context) -> None:
    assert fetch(validated_clean, "SELECT * FROM intermediate.int_retail__sales_priced WHERE is_free") == []
    assert (
        fetch(validated_clean, "SELECT * FROM edtech.fct_enrollment WHERE is_before_sign_up OR is_after_course_end")
        == []
    )
    assert fetch(validated_clean, "SELECT * FROM shared.dim_location WHERE region = 'Unknown'") == []


def test_every_reason_for_rejecting_a_row_occurs_that_keys_allow(validated_faulty: Faulty) -> None:
    explained = fetch(validated_faulty.warehouse, "SELECT source_table, reject_reason FROM ops.ref_reject_reason")
    occurring = fetch(validated_faulty.warehouse, "SELECT DISTINCT source_table, reject_reason FROM ops.rejected_rows")
    assert set(occurring) == {row for row in explained if row[1] not in IMPOSSIBLE}


def test_odd_rows_occur_that_are_not_rejected(validated_faulty: Faulty) -> None:
    warehouse = validated_faulty.warehouse
    assert fetch(warehouse, "SELECT * FROM intermediate.int_retail__sales_priced WHERE is_valid AND is_free")
    assert fetch(warehouse, "SELECT * FROM edtech.fct_enrollment WHERE is_before_sign_up")
    assert fetch(warehouse, "SELECT * FROM shared.dim_location WHERE city = 'Unknown'")
    assert fetch(warehouse, "SELECT * FROM shared.dim_location WHERE province = 'Atlantis'")
    assert fetch(warehouse, "SELECT * FROM pii.student WHERE email IS NULL")


def test_as_large_a_share_of_the_new_rows_is_dirty_as_asked_for(validated_faulty: Faulty) -> None:
    written = validated_faulty.written
    new = written.sales + written.students + written.courses + written.enrollments
    assert abs(written.faulty - FAULT_RATE * new) < 5 * sqrt(FAULT_RATE * (1 - FAULT_RATE) * new)
    [(rejected,)] = fetch(validated_faulty.warehouse, "SELECT COUNT(*) FROM quarantine.retail_sales")
    rejected_share = FAULT_RATE * 13 / 17  # the other four kinds of dirt are only odd
    assert abs(int(str(rejected)) - rejected_share * written.sales) < 5 * sqrt(rejected_share * written.sales)


@pytest.mark.parametrize("dirt", [0, 1])
def test_all_or_none_of_the_new_rows_are_dirty_but_never_those_to_begin_with(source: Sources, fault_rate: int) -> None:
    founding = write(source, sales=0, fault_rate=fault_rate)
    assert (founding.rows > 0, founding.faulty) == (True, 0)
    written = write(source, sales=500, seed=2, fault_rate=fault_rate)
    assert written.faulty == fault_rate * (written.sales + written.students + written.courses + written.enrollments)


def test_batches_that_are_open_at_once_do_not_wait_for_each_other(source: Sources) -> None:
    write(source, sales=1_000)
    with psycopg.connect(source.url) as one, psycopg.connect(source.url) as other:
        for connection in (one, other, one, other):  # the same recent rows, changed by both
            connection.execute("SET LOCAL lock_timeout = '100ms'")
            written = write_batch(connection, np.random.default_rng(1), sales=1_000, fault_rate=0, now=NOW)
            assert written.sales == 1_000
    assert len(rows(source, "retail.sales")) == 5_000


def test_generators_that_run_at_once_take_different_ids(source: Sources) -> None:
    def generate(seed: int) -> Written:
        return sum((write(source, sales=300, seed=seed + number) for number in range(5)), Written())

    with ThreadPoolExecutor() as threads:
        written = sum(threads.map(generate, (0, 100, 200)), Written())
    assert written.sales == 4_500
    for table, count in (
        ("retail.sales", written.sales),
        ("edtech.students", written.students),
        ("edtech.courses", written.courses),
        ("edtech.enrollments", written.enrollments),
    ):
        assert len(rows(source, table)) == count


def counted(source: Sources) -> tuple[int, ...]:
    return tuple(len(rows(source, table)) for table in TABLES)


def run(source: Sources, *, batches: int, sales: int = 50) -> tuple[Written, list[Written]]:
    told: list[Written] = []
    total = run_traffic(
        source.url, sales=sales, batches=batches, every=0, seed=1, fault_rate=0.02, days=0, on_batch=told.append
    )
    return total, told


@pytest.mark.parametrize("batches", [1, 4, 5, 11])
def test_the_run_tells_of_every_batch_and_their_sum_is_in_the_tables(source: Sources, batches: int) -> None:
    total, told = run(source, batches=batches)
    assert len(told) == batches
    assert total == sum(told, Written())
    assert counted(source) == (total.students, total.courses, total.enrollments, total.sales)
    assert total.sales == 50 * batches


def test_the_fifth_batch_is_committed_after_the_sixth(source: Sources) -> None:
    newest: list[set[object]] = []

    def look(_: Written) -> None:
        newest.append(set(rows(source, "retail.sales")))

    run_traffic(source.url, sales=10, batches=7, every=0, seed=1, fault_rate=0, days=0, on_batch=look)
    visible = [max(order_id for order_id, _ in seen) for seen in newest]
    assert len(newest) == 7
    assert visible[:5] == sorted(visible[:5])
    sixth, fifth = newest[4] - newest[3], newest[5] - newest[4]
    assert len(fifth) == len(sixth) == 10
    assert max(fifth) < min(sixth)


def test_a_database_without_tables_is_rejected_in_one_line(postgres: Server) -> None:
    url = postgres.url("postgres", "postgres")
    with pytest.raises(click.ClickException) as error:
        run_traffic(url, sales=1, batches=1, every=0, seed=1, fault_rate=0, days=0, on_batch=print)
    assert error.value.message.endswith("has no tables of the sources: run `meshflow source up`")
    assert "\n" not in error.value.message


def test_a_batch_that_is_rejected_leaves_nothing_and_says_so_in_one_line(source: Sources) -> None:
    source.execute("ALTER TABLE retail.sales ADD CONSTRAINT shut CHECK (false)")
    with pytest.raises(click.ClickException, match=r"rejected the batch: .*\"shut\"") as error:
        run(source, batches=1)
    assert "\n" not in error.value.message
    assert counted(source) == (0, 0, 0, 0)


GENERATE = """
import sys
from dataclasses import asdict
from json import dumps
from meshflow.source.traffic import run_traffic

def tell(written):
    print("committed", flush=True)

url, sales, every = sys.argv[1:]
total = run_traffic(url, sales=int(sales), batches=None, every=float(every), seed=1, dirt=0, days=0, on_batch=tell)
print(dumps(asdict(total)), flush=True)
"""


@contextmanager
def generator(source: Sources, *, sales: int, every: float) -> Iterator[subprocess.Popen[str]]:
    """An endless one, in a process of its own, that has committed a batch."""
    command = [sys.executable, "-c", GENERATE, source.url, str(sales), str(every)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "committed\n"
            yield process
        finally:
            process.kill()


def wait_until(source: Sources, condition: str) -> None:
    """Until `condition`, in SQL, holds for the other sessions of the source."""
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
def test_a_signal_ends_it_with_every_batch_whole_and_counted(
    source: Sources, number: signal.Signals, sales: int, every: float, condition: str
) -> None:
    with generator(source, sales=sales, every=every) as process:
        wait_until(source, condition)
        process.send_signal(number)
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    total = Written(**json.loads(output.splitlines()[-1]))
    assert counted(source) == (total.students, total.courses, total.enrollments, total.sales)
    assert total.sales == sales * (output.count("committed") + 1)


def test_a_generator_that_is_killed_leaves_whole_batches(source: Sources) -> None:
    with generator(source, sales=20_000, every=0) as process:
        wait_until(source, COPYING)
        process.kill()
    wait_until(source, "count(*) = 0")
    orders = [row["created_at"] for row in rows(source, "retail.sales").values()]
    assert len(orders) >= 20_000
    assert len(orders) % 20_000 == 0


def test_the_command_repeats_itself_with_the_same_seed_and_moment(postgres: Server) -> None:
    arguments = ["generate", "--sales", "30", "--batches", "7", "--every", "0.1", "--seed", "5", "--at", "2026-11-01"]
    rows = []
    for _ in range(2):
        source = Sources.new(postgres)
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
def test_the_command_rejects_what_makes_no_sense(option: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["generate", *option])
    assert result.exit_code == 2
    assert f"Invalid value for '{option[0]}'" in result.stderr
