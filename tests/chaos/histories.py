"""Random histories of the sources, of runs and of plans, and what the warehouse has to contain after them.

What it has to contain is computed in Python, with Decimal, from the rows of RAW alone. Nothing here reads the models.
"""

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from random import Random
from typing import Any
from unittest.mock import patch

import time_machine
from sqlglot import exp
from sqlmesh.core.context import Context
from sqlmesh.core.macros import RuntimeStage
from sqlmesh.core.snapshot.evaluator import SnapshotEvaluator
from sqlmesh.utils.date import to_datetime
from sqlmesh.utils.errors import PlanError
from workspace import Workspace

KEYS = {
    "edtech.students": ("student_id",),
    "edtech.courses": ("course_id",),
    "edtech.enrollments": ("enrollment_id",),
    "retail.sales": ("order_id", "product_id"),
}
VALID: dict[str, dict[str, Any]] = {
    "edtech.students": {"student_id": 7, "first_name": "Ada", "enrollment_date": date(2026, 3, 1)},
    "edtech.courses": {
        "course_id": 7, "course_name": "Logic", "credits": 3, "start_date": date(2026, 3, 1),
        "end_date": date(2026, 3, 9),
    },
    "edtech.enrollments": {
        "enrollment_id": 7, "student_id": 7, "course_id": 7, "enrollment_date": date(2026, 3, 2),
    },
    "retail.sales": {
        "order_id": 7, "product_id": 7, "customer_id": 7, "quantity": 1, "price": Decimal("0.05"),
        "discount": Decimal("0.1"), "order_date_at": datetime(2026, 3, 1, 9), "cust_name": None, "city": None,
        "province": None, "country": None, "shipping_cost": None,
    },
}  # fmt: skip
"""A valid row of each table, under a key that no random row has."""

DAYS = [datetime(2026, 3, 1, 9), datetime(2026, 3, 1, 18), datetime(2026, 3, 2, 9), datetime(2026, 3, 9, 9)]
LOCATIONS = [
    ("Montréal", "Québec", "Canada"), ("MONTREAL", "Quebec", "canada"), ("Toronto", "Ontario", "Canada"),
    ("Ottawa ", "Ontario", "CANADA"), ("Málaga", None, "Spain"), ("C|D", "B", "Spain"), ("D", "B|C", "Spain"),
    (None, None, None),
]  # fmt: skip
STORED = (
    "intermediate.int_edtech__students_validated",
    "intermediate.int_edtech__courses_validated",
    "intermediate.int_edtech__enrollments_ranked",
    "intermediate.int_retail__sales_validated",
    "intermediate.int_retail__sales_aggregated",
    "intermediate.int_retail__customers_derived",
)
"""The tables that runs change by affected keys."""

FORGOTTEN = {
    "intermediate.int_retail__sales_validated": ["previous_order_date"],
    "intermediate.int_retail__customers_derived": ["_loaded_at"],
}
"""Columns that show what a load has changed. A full refresh can't know: no line is left of one that has moved."""

HISTORIES = {
    "history.hist_student": ("student_id", "edtech.dim_student", ("full_name", "gender", "enrollment_date")),
    "history.hist_course": (
        "course_id",
        "edtech.dim_course",
        ("course_name", "instructor_name", "credits", "start_date", "end_date"),
    ),
    "history.hist_customer": ("customer_id", "retail.dim_customer", ("customer_name", "location_id")),
}
"""By history: its key, the dimension that shows the current versions, and the columns in both."""

REWRITES = (
    ("int_retail__sales_aggregated", "COUNT(sales.order_id) AS", "COUNT(sales.product_id) AS"),
    ("int_retail__sales_validated", "NOT lines.deleted_at IS NULL AS", "NOT lines.deleted_at IS NULL AND TRUE AS"),
    ("int_edtech__students_validated", "ranked.recency_rank::INT AS", "(ranked.recency_rank + 0)::INT AS"),
    ("int_retail__customers_derived", "newest.newness_rank = 1", "newest.newness_rank < 2"),
)
"""Changes of models that change no result: a model, its text, and other text."""

Row = dict[str, Any]
Contents = Counter[tuple[Any, ...]]


def random_row(random: Random, table: str) -> Row:
    """A row of `table`. Few keys, so that corrections are common. A fifth is deleted, and many are rejected."""
    choice = random.choice
    if table == "edtech.students":
        row = {
            "student_id": choice([1, 2, 3, 4, None]),
            "first_name": choice(["Ada", "Zoë", "Ada", None]),
            "last_name": choice(["Kuipers", None]),
            "gender": choice(["Female", None]),
            "enrollment_date": choice([*DAYS, datetime(1, 1, 1)]).date(),
        }
    elif table == "edtech.courses":
        row = {
            "course_id": choice([1, 2, 3]),
            "course_name": choice(["Algebra", "Logic", None]),
            "instructor_name": choice(["Emmy", None]),
            "credits": choice([3, 5, 0]),
            "start_date": DAYS[0].date(),
            "end_date": choice(DAYS).date(),
        }
    elif table == "edtech.enrollments":
        row = {
            "enrollment_id": choice([1, 2, 3, 4, 5, None]),
            "student_id": choice([1, 2, 3, 4, 9, None]),
            "course_id": choice([1, 2, 3]),
            "enrollment_date": choice([*(day.date() for day in DAYS), None]),
        }
    else:
        # Most lines share a day and a location, so that orders have several lines there.
        city, province, country = choice([*LOCATIONS[:2] * 4, *LOCATIONS])
        row = {
            "order_id": choice([1, 2, 3, 4, 5, 6, None]),
            "product_id": choice([1, 2, 3, None]),
            "product": choice(["Lamp", "Lamp XL"]),
            "customer_id": choice([1, 2, 3, 3, 4, None]),
            "cust_name": choice(["Ada", "Zoë", None]),
            "order_date_at": choice([*DAYS[:1] * 4, *DAYS]),
            "quantity": choice([1, 2, 3, 5, 5, 8, -1]),
            "price": choice([*map(Decimal, ("0.05", "0.15", "0.15", "7.25", "7.25", "19.99", "0", "-1")), None]),
            "discount": choice([*map(Decimal, ("0", "0", "0.05", "0.05", "0.1", "0.3", "1", "1.5"))]),
            "shipping_cost": choice([*map(Decimal, ("4.95", "0", "12", "9999999999999999.99")), None]),
            "city": city,
            "province": province,
            "country": country,
        }
    return row | {"deleted_at": choice([None, None, None, None, datetime(2026, 1, 1)])}


@dataclass
class Warehouse:
    """Prod on gateway `live`, and RAW, into which the test writes as the loader does."""

    workspace: Workspace
    context: Context
    clock: datetime
    """The current time of loads and runs, UTC. It advances without waiting."""
    random: Random = field(default_factory=Random)
    raw: dict[str, list[Row]] = field(default_factory=lambda: {table: [] for table in KEYS})
    """The rows of RAW, as they are."""
    seen: dict[str, set[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(set))
    """By history: the versions that it had when last looked at, without their ends."""
    failed_plans: list[str] = field(default_factory=list)
    """The environments of plans that have failed since the last plain run."""
    log: list[str] = field(default_factory=list)
    """What has been done, for the reader of a failure."""

    def pass_time(self, time: timedelta) -> None:
        self.clock += time

    # What happens in the sources

    def load(self) -> None:
        """Write up to twenty rows, merged by key as the loader does, or beside the rows of the key, as duplicates."""
        self.clock += timedelta(minutes=self.random.randint(1, 4), microseconds=1)
        for _ in range(self.random.choice([0, 1, 5, 20])):
            table = self.random.choice([*KEYS, "retail.sales", "retail.sales"])
            self.write(table, random_row(self.random, table), is_duplicate=self.random.random() < 0.1)
        self.record_load()

    def write(self, table: str, row: Row, *, is_duplicate: bool = False) -> None:
        """Add a row as written now, or with a wrong `updated_at`: not moved, older, ahead of our clock, or missing."""
        right = self.clock - timedelta(seconds=self.random.randint(1, 50))
        wrong = [self.clock - timedelta(days=3), self.clock + timedelta(days=1), None]
        updated_at = right if is_duplicate or self.random.random() < 0.8 else self.random.choice(wrong)
        row = row | {"updated_at": updated_at, "_loaded_at": self.clock}
        key = {column: row[column] for column in KEYS[table]}
        if is_duplicate:
            # A tie between two rows of one key is decided by columns that this test need not know.
            used = {(other["updated_at"], other["_loaded_at"]) for other in self.raw[table]}
            if (row["updated_at"], row["_loaded_at"]) in used:
                return
        elif None not in key.values():
            self.raw[table] = [other for other in self.raw[table] if not key.items() <= other.items()]
            self._execute(f"DELETE FROM RAW.{table} WHERE {' AND '.join(f'{name} = ?' for name in key)}", key.values())
        self.raw[table].append(row)
        marks = ", ".join("?" * len(row))
        self._execute(f"INSERT INTO RAW.{table} ({', '.join(row)}) VALUES ({marks})", row.values())

    def record_load(self, rows: int | None = None) -> None:
        """Add a finished load of every table to the load log."""
        for source, table in (name.split(".") for name in KEYS):
            count = (
                sum(row["_loaded_at"] == self.clock for row in self.raw[f"{source}.{table}"]) if rows is None else rows
            )
            self._execute(
                "INSERT INTO RAW.LOADER.LOADS (source, table_name, started_at, finished_at, row_count) "
                "VALUES (?, ?, ?, ?, ?)",
                (source, table, self.clock, self.clock, count),
            )

    def _execute(self, statement: str, values: Any = ()) -> None:
        self.context.engine_adapter.cursor.execute(statement, list(values))

    # What people and schedulers do

    def run(self, environment: str = "prod", **options: Any) -> bool:
        """`sqlmesh run`. Returns whether it succeeded."""
        with self.now():
            status = self.context.run(environment, skip_janitor=True, **options)
        return status.is_success or status.is_nothing_to_do

    def run_some(self) -> None:
        """`sqlmesh run --select-model`, with or without the models upstream."""
        model = self.random.choice(STORED)
        self.run(select_models=[model], no_auto_upstream=self.random.random() < 0.7)

    def run_until_it_stops(self) -> None:
        """A run that dies after some models: of the last one the table is written, but SQLMesh doesn't know."""
        with stopping_after(self.random.randint(0, 20)):
            self.run()

    def run_in_dev(self) -> None:
        """`sqlmesh run dev`: environments share the tables of models that are the same."""
        self.try_plan("dev")
        self.run("dev")

    def restate(self) -> None:
        """`sqlmesh plan prod --restate-model`, of the past hour or of everything."""
        model = self.random.choice(STORED)
        hour = {"start": self.clock - timedelta(minutes=30), "end": self.clock - timedelta(minutes=15)}
        self.try_plan("prod", restate_models=[model], **self.random.choice([hour, {}]))

    def rewrite_a_model(self) -> None:
        """Change a model in dev, or change it back. A later plan of prod promotes it."""
        name, one, other = self.random.choice(REWRITES)
        file = f"models/intermediate/{name}.sql"
        old, new = (one, other) if one in (self.workspace.path / file).read_text(encoding="utf-8") else (other, one)
        self.workspace.edit(file, old, new)
        with patch.dict(os.environ, self.workspace.environment):
            self.context.load()
        self.try_plan("dev")

    def promote(self) -> None:
        """`sqlmesh plan prod`."""
        self.try_plan("prod")

    def plan(self, environment: str, **options: Any) -> None:
        settings = {"auto_apply": True, "no_prompts": True, "skip_tests": True}
        with self.now():
            self.context.plan(environment, **settings | options)

    def try_plan(self, environment: str, **options: Any) -> None:
        """A plan may fail after a run that died: a fact is ahead of its dimensions. After a plain run it must not."""
        try:
            self.plan(environment, **options)
        except PlanError:
            self.log.append("plan failed")
            self.failed_plans.append(environment)

    @contextmanager
    def now(self) -> Iterator[None]:
        """SQLMesh's clock shows this warehouse's time."""
        with time_machine.travel(self.clock.replace(tzinfo=UTC)):
            yield

    def step(self) -> None:
        """Let something happen."""
        steps: dict[Callable[[], object], int] = {
            self.load: 12,
            self.run: 5,
            self.run_some: 3,
            self.run_until_it_stops: 3,
            self.restate: 2,
            self.run_in_dev: 1,
            self.rewrite_a_model: 1,
            self.promote: 1,
        }
        (step,) = self.random.choices(list(steps), list(steps.values()))
        self.log.append(step.__name__)
        step()
        self.pass_time(
            self.random.choice([timedelta(0), timedelta(minutes=3), timedelta(minutes=20), timedelta(days=2)])
        )

    def catch_up(self) -> None:
        """One more load, and one plain run."""
        self.clock += timedelta(minutes=5) - timedelta(seconds=self.clock.timestamp() % 300)
        self.record_load(rows=0)
        self.clock += timedelta(seconds=20)
        self.log.append("catch up")
        assert self.run(), "the plain run failed"
        while self.failed_plans:
            self.plan(self.failed_plans.pop())

    # What has to be there

    def differences(self) -> list[str]:
        """Where marts differ from what Python computes, and histories from the dimensions; [] if nowhere."""
        expected = Expected(self.raw)
        found = [
            difference(name, wanted, self.contents(query))
            for name, query, wanted in (
                ("fct_sales", SALES_QUERY, expected.sales()),
                ("rpt_revenue_daily", REVENUE_QUERY, expected.revenue()),
                ("orders by country", ORDERS_QUERY, expected.orders_by_country()),
                ("dim_customer", CUSTOMERS_QUERY, expected.customers()),
                ("fct_enrollment", ENROLLMENTS_QUERY, expected.enrollments()),
                ("dim_student", STUDENTS_QUERY, Counter(map(student_values, expected.students()))),
                ("dim_course", COURSES_QUERY, Counter(map(course_values, expected.courses()))),
            )
        ]
        return [line for line in [*found, *self.rebuild_differences(), *self.history_faults()] if line]

    def rebuild_differences(self) -> Iterator[str]:
        """Where a stored table of prod differs from what a full refresh would write."""
        prod = self.context.state_reader.get_environment("prod")
        assert prod
        snapshots = {
            snapshot.name: snapshot for snapshot in self.context.state_reader.get_snapshots(prod.snapshots).values()
        }
        start = to_datetime(self.context.config.model_defaults.start)
        times = {"start": start, "end": self.clock, "execution_time": self.clock, "since": start}
        for model in STORED:
            snapshot = snapshots[self.context.get_model(model, raise_if_missing=True).fqn]
            query = snapshot.model.render_query_or_raise(
                **times, snapshots=snapshots, runtime_stage=RuntimeStage.EVALUATING
            )
            exists = snapshot.model.kind.materialization_properties.get("row_exists", exp.true())
            rows = exp.select("*").from_(query.subquery("rebuilt")).where(exists).sql("duckdb")
            stored, refreshed = (
                self.contents(f"SELECT *{left_out(model)} FROM {rows}") for rows in (snapshot.table_name(), f"({rows})")
            )
            yield difference(model, refreshed, stored)

    def contents(self, query: str) -> Contents:
        return Counter(self.context.engine_adapter.fetchall(query))

    def history_faults(self) -> Iterator[str]:
        for history, (key, dimension, columns) in HISTORIES.items():
            names = ", ".join((key, *columns))
            current = self.contents(f"SELECT {names} FROM {history} WHERE valid_to IS NULL")
            yield difference(
                f"current versions of {history}", self.contents(f"SELECT {names} FROM {dimension}"), current
            )
            versions = self.contents(f"SELECT {names}, valid_from, valid_to FROM {history}")
            by_key: dict[Any, list[tuple[datetime, datetime]]] = defaultdict(list)
            for *_, valid_from, valid_to in versions:
                assert valid_to is None or valid_to > valid_from, f"{history}: a version ends before it begins"
            for version in versions:
                by_key[version[0]].append((version[-2], version[-1] or self.clock + timedelta(days=9999)))
            for ranges in map(sorted, by_key.values()):
                if any(start < end for (_, end), (start, _) in pairwise(ranges)):
                    yield f"{history}: versions overlap"
            if versions.total() > len(versions):
                yield f"{history}: a version is stored twice"
            stored = {version[:-1] for version in versions}
            if changed := self.seen[history] - stored:
                yield f"{history}: {len(changed)} versions have changed, such as {min(map(str, changed))}"
            self.seen[history] = stored

    def table(self, model: str, context: Context | None = None) -> Contents:
        """The rows of a stored table, without the columns of FORGOTTEN."""
        context = context or self.context
        name = context.get_snapshot(model, raise_if_missing=True).table_name()
        return Counter(context.engine_adapter.fetchall(f"SELECT *{left_out(model)} FROM {name}"))


def left_out(model: str) -> str:
    """DuckDB's clause that leaves out the columns of FORGOTTEN."""
    return "".join(f" EXCLUDE ({column})" for column in FORGOTTEN.get(model, ()))


@contextmanager
def stopping_after(models: int) -> Iterator[None]:
    """Let the evaluation of a model fail after `models` have been evaluated, and that of every later one."""
    evaluate, count = SnapshotEvaluator.evaluate, 0

    def stop(self: SnapshotEvaluator, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count <= models:
            return evaluate(self, *arguments, **options)
        if count == models + 1:
            evaluate(self, *arguments, **options)
        raise RuntimeError("the process has died")

    with patch.object(SnapshotEvaluator, "evaluate", stop):
        yield


def difference(name: str, expected: Contents, actual: Contents) -> str:
    missing, surplus = expected - actual, actual - expected
    if not missing and not surplus:
        return ""
    examples = ", ".join(min(map(str, rows)) for rows in (missing, surplus) if rows)
    return f"{name}: {missing.total()} rows missing, {surplus.total()} too many, such as {examples}"


STUDENTS_QUERY = "SELECT student_id, full_name, gender, enrollment_date FROM edtech.dim_student"
COURSES_QUERY = """
    SELECT course_id, course_name, instructor_name, credits, start_date, end_date FROM edtech.dim_course
"""
ENROLLMENTS_QUERY = """
    SELECT enrollment_id, student_id, course_id, enrollment_date, is_before_sign_up, is_after_course_end
    FROM edtech.fct_enrollment
"""
SALES_QUERY = """
    SELECT order_id, product_id, customer_id, location_id, ordered_at, quantity, total_revenue_amount,
      total_discount_amount, net_revenue_amount, shipping_amount, is_free
    FROM retail.fct_sales
"""
REVENUE_QUERY = """
    SELECT order_date, location_id, order_count, line_count, quantity, total_revenue_amount, total_discount_amount,
      net_revenue_amount, shipping_amount
    FROM retail.rpt_revenue_daily
"""
ORDERS_QUERY = "SELECT LOWER(country), order_count, net_revenue_amount FROM retail.rpt_net_revenue_by_country"
CUSTOMERS_QUERY = """
    SELECT customer_id, customer_name, location_id, first_order_date, last_order_date FROM retail.dim_customer
"""


class Expected:
    """What follows from the rows of RAW."""

    def __init__(self, raw: dict[str, list[Row]]) -> None:
        self.raw = raw

    def newest(self, table: str) -> Iterator[Row]:
        """The newest row of each key, unless it is deleted. Rows without a key have none."""
        rows: dict[tuple[Any, ...], Row] = {}
        for row in self.raw[table]:
            key = tuple(row[column] for column in KEYS[table])
            if None not in key and (key not in rows or written(rows[key]) < written(row)):
                rows[key] = row
        return (row for row in rows.values() if row["deleted_at"] is None)

    def students(self) -> Iterator[Row]:
        for row in self.newest("edtech.students"):
            if (row["first_name"] or row["last_name"]) and row["enrollment_date"] > date(1990, 1, 1):
                yield row

    def courses(self) -> Iterator[Row]:
        for row in self.newest("edtech.courses"):
            if row["course_name"] and row["credits"] and row["start_date"] <= row["end_date"]:
                yield row

    def enrollments(self) -> Contents:
        students = {row["student_id"]: row for row in self.students()}
        courses = {row["course_id"]: row for row in self.courses()}
        return Counter(
            (
                row["enrollment_id"],
                student["student_id"],
                course["course_id"],
                day,
                day < student["enrollment_date"],
                day > course["end_date"],
            )
            for row in self.newest("edtech.enrollments")
            if (day := row["enrollment_date"])
            and (student := students.get(row["student_id"]))
            and (course := courses.get(row["course_id"]))
        )

    def lines(self) -> Iterator[Row]:
        for row in self.newest("retail.sales"):
            quantity, price, discount, shipping = (
                row[name] for name in ("quantity", "price", "discount", "shipping_cost")
            )
            if (
                row["customer_id"] is not None
                and quantity > 0
                and price is not None
                and price >= 0
                and discount <= 1
                and (shipping or 0) <= 1_000_000
            ):
                gross, reduction = cents(quantity * price), cents(quantity * price * discount)
                yield row | {
                    "location_id": location_id(row["country"], row["province"], row["city"]),
                    "amounts": (gross, reduction, gross - reduction, shipping or Decimal("0.00")),
                }

    def sales(self) -> Contents:
        names = ("order_id", "product_id", "customer_id", "location_id", "order_date_at", "quantity")
        return Counter((*(row[name] for name in names), *row["amounts"], row["price"] == 0) for row in self.lines())

    def revenue(self) -> Contents:
        days: dict[tuple[date, str], list[Row]] = defaultdict(list)
        for row in self.lines():
            days[row["order_date_at"].date(), row["location_id"]].append(row)
        return Counter(
            (
                *key,
                len({row["order_id"] for row in rows}),
                len(rows),
                sum(row["quantity"] for row in rows),
                *totals(rows),
            )
            for key, rows in days.items()
        )

    def orders_by_country(self) -> Contents:
        countries: dict[str, list[Row]] = defaultdict(list)
        for row in self.lines():
            countries[normalized(row["country"])].append(row)
        return Counter(
            (country, len({row["order_id"] for row in rows}), totals(rows)[2]) for country, rows in countries.items()
        )

    def customers(self) -> Contents:
        by_customer: dict[int, list[Row]] = defaultdict(list)
        for row in self.lines():
            by_customer[row["customer_id"]].append(row)
        customers: Contents = Counter()
        for customer, rows in by_customer.items():
            newest = max(rows, key=lambda row: (row["order_date_at"], row["order_id"], row["product_id"]))
            first = min(row["order_date_at"] for row in rows).date()
            customers[customer, newest["cust_name"], newest["location_id"], first, newest["order_date_at"].date()] += 1
        return customers


def student_values(row: Row) -> tuple[Any, ...]:
    full_name = " ".join(filter(None, (row["first_name"], row.get("last_name"))))
    return row["student_id"], full_name, row.get("gender"), row["enrollment_date"]


def course_values(row: Row) -> tuple[Any, ...]:
    names = ("course_id", "course_name", "instructor_name", "credits", "start_date", "end_date")
    return tuple(row.get(name) for name in names)


def written(row: Row) -> tuple[datetime, datetime]:
    return (row["updated_at"] or datetime(1, 1, 1), row["_loaded_at"])


def totals(rows: list[Row]) -> tuple[Decimal, ...]:
    return tuple(sum(amounts, Decimal(0)) for amounts in zip(*(row["amounts"] for row in rows), strict=True))


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def normalized(text: str | None) -> str:
    """Without case, accents and repeated white space; 'unknown' if nothing is left."""
    letters = (letter for letter in unicodedata.normalize("NFD", text or "") if not unicodedata.combining(letter))
    return " ".join("".join(letters).lower().split()) or "unknown"


def location_id(*parts: str | None) -> str:
    return hashlib.md5("\t".join(map(normalized, parts)).encode(), usedforsecurity=False).hexdigest()
