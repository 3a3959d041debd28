"""Realistic traffic for the two sources, written to PostgreSQL.

The random generator, the time and the existing rows determine a batch: the same three give the same rows. The id
determines the attributes of a customer, product, student or course (`meshflow.reference_data`).

numpy generates rows as columns of text, and COPY writes them: fast, and small enough for AWS Lambda without pandas.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import count, islice
from math import ceil
from types import FrameType
from typing import NamedTuple

import click
import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from meshflow import reference_data
from meshflow.postgres import address, connect, reason, unreachable

Numbers = NDArray[np.int64]
"""Ids, cents, days since 1970 or seconds since 1970."""
Texts = NDArray[np.object_]
"""Input of COPY: str. No value has a tab, a newline or a backslash, so nothing is escaped."""
Rows = dict[str, Texts]
"""Columns of equal length, by name."""
Fault = Mapping[str, str]
"""The values of a faulty row, by column; other columns keep theirs."""

NULL = r"\N"
DAY = 86_400

# New rows per new order line, similar to the sample.
NEW_ORDERS = 3 / 5
NEW_STUDENTS = 1 / 50
NEW_COURSES = 1 / 5_000
NEW_ENROLLMENTS = 3 / 50
# Changes of earlier rows per new order line. They cancel 7 % of the enrollments, including those of students who
# leave; the audit max_deletion_rate stops a run at 20 % in a day.
CORRECTED_ORDERS = 1 / 50
CORRECTED_STUDENTS = 1 / 200
CORRECTED_COURSES = 1 / 2_000
CANCELLED_ORDERS = 1 / 100
CANCELLED_ENROLLMENTS = 1 / 400
LEAVING_STUDENTS = 1 / 2_000

CUSTOMERS = 50_000
LIST_PRICE_SHARE = 0.6
"""Share of lines at the list price; the price of the others is at most 10 % lower or higher."""
BATCH_SECONDS = 300
"""Orders are placed at most this many seconds before their batch, except late ones."""
LATE_SHARE = 0.02
"""Share of orders that arrive late."""
LATE_SECONDS = (3_600, 3 * DAY)
"""Minimum and maximum age of late orders."""
RECENT_BATCHES = 20
"""Orders and enrollments may change during about this many batches after their own."""
ENROLLMENT_LEAD_DAYS = 150
"""Days before its start from which a course accepts enrollments."""
INITIAL_DAYS = 365
INITIAL_STUDENTS = 240
INITIAL_ENROLLMENTS = 720
ROWS_PER_WRITE = 2_000
"""About 300 kB: the server reads one chunk while the next is formatted."""
LATE_COMMIT_EVERY = 5
"""One in this many batches is committed after the batch that follows it."""


@dataclass(frozen=True)
class RowCounts:
    """Number of rows that one or more batches wrote."""

    sales: int = 0
    students: int = 0
    courses: int = 0
    enrollments: int = 0
    corrected: int = 0
    """Earlier rows, of any table, with a new value."""
    cancelled: int = 0
    """Earlier rows, of any table, that got a deleted_at."""
    faulty: int = 0
    """New rows with an injected fault, whether the warehouse rejects it or only flags it."""

    @property
    def rows(self) -> int:
        return self.sales + self.students + self.courses + self.enrollments + self.corrected + self.cancelled

    def __add__(self, other: "RowCounts") -> "RowCounts":
        return RowCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


class Table(NamedTuple):
    schema: str
    name: str
    key: tuple[str, ...]
    ids: str
    """The sequence of the first key column."""

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


STUDENTS = Table("edtech", "students", ("student_id",), "edtech.students_student_id_seq")
COURSES = Table("edtech", "courses", ("course_id",), "edtech.courses_course_id_seq")
ENROLLMENTS = Table("edtech", "enrollments", ("enrollment_id",), "edtech.enrollments_enrollment_id_seq")
SALES = Table("retail", "sales", ("order_id", "product_id"), "retail.order_ids")


def run_traffic(  # noqa: PLR0913 - the options of `meshflow generate`
    url: str,
    *,
    sales: int,
    batches: int | None,
    every: float,
    seed: int | None,
    fault_rate: float,
    days: int,
    on_batch: Callable[[RowCounts], None],
    at: datetime | None = None,
) -> RowCounts:
    """Write `batches` batches of `sales` order lines to the database at `url`, one every `every` seconds.

    If `batches` is None, it continues until SIGINT or SIGTERM. The first signal lets the current batch finish, a second
    one rolls it back. `on_batch` is called after each commit. One in five batches is committed after the next one, like
    the long transactions of real systems. `fault_rate` and `days` are those of `write_batch`. Call it from the main
    thread, which receives the signals.

    The same `seed` and `at`, the time of the first batch (now, if None), write the same rows to the same tables.

    Returns the sum of all committed batches. Raises click.ClickException for any error of PostgreSQL.
    """
    random = np.random.default_rng(seed)
    committed = RowCounts()
    open_batches: list[tuple[psycopg.Connection, RowCounts]] = []

    def commit_newest() -> None:
        nonlocal committed
        connection, written = open_batches.pop()
        connection.commit()
        committed += written
        on_batch(written)

    with _stop_signals() as is_stopped, _clear_errors(url), connect(url) as regular, connect(url) as late:
        for number in _batch_numbers(batches, every, is_stopped):
            connection = regular if number % LATE_COMMIT_EVERY else late
            now = at + timedelta(seconds=every * (number - 1)) if at else datetime.now(UTC)
            written = write_batch(connection, random, sales=sales, fault_rate=fault_rate, now=now, days=days)
            open_batches.append((connection, written))
            while open_batches and connection is regular:
                commit_newest()
        while open_batches:
            commit_newest()
    return committed


def _batch_numbers(batches: int | None, every: float, is_stopped: Callable[[], bool]) -> Iterator[int]:
    """1, 2, 3 … up to `batches`, one every `every` seconds, until `is_stopped` returns true."""
    for number in count(1) if batches is None else range(1, batches + 1):
        next_at = time.monotonic() + every
        yield number
        while number != batches and not is_stopped() and (left := next_at - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        if is_stopped():
            return


@contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    """Raise click.ClickException for any error of PostgreSQL at `url`."""
    try:
        yield
    except psycopg.errors.UndefinedTable:
        raise click.ClickException(
            f"PostgreSQL at {address(url)} doesn't have the demo's tables: run `meshflow source install-demo`"
        ) from None
    except psycopg.OperationalError as error:
        raise unreachable(url, error) from None
    except psycopg.Error as error:
        raise click.ClickException(f"PostgreSQL at {address(url)} rejected the batch: {reason(error)}") from None


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM was received. A second one has its original handler."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    is_stopped = False

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopped
        is_stopped = True
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield lambda: is_stopped
    finally:
        restore()


def write_batch(  # noqa: PLR0913 - the options of `meshflow generate`
    connection: psycopg.Connection,
    random: np.random.Generator,
    *,
    sales: int,
    fault_rate: float,
    now: datetime,
    days: int = 0,
) -> RowCounts:
    """Write a batch of `sales` new order lines and related rows. The caller commits it or rolls it back.

    A batch also has students, courses and enrollments, and corrects and cancels earlier rows. In an empty database it
    first inserts initial students, courses and enrollments. `fault_rate` is the share of new rows with an injected
    fault, 0 to 1. `now` is timezone-aware. `days` spreads new rows over that many days before `now`; with 0 they are
    minutes old. Any number of batches may be open at once: none waits for another.
    """
    batch = _Batch(connection, random, sales, fault_rate, now.astimezone(UTC), days)
    earlier = batch.insert_initial_rows() if batch.is_initial() else batch.correct() + batch.cancel()
    return (
        earlier
        + batch.add_students(batch.draw_count(NEW_STUDENTS))
        + batch.add_courses(batch.draw_count(NEW_COURSES))
        + batch.add_enrollments(batch.draw_count(NEW_ENROLLMENTS))
        + batch.add_sales()
    )


@dataclass(frozen=True)
class _Batch:
    connection: psycopg.Connection
    random: np.random.Generator
    sales: int
    fault_rate: float
    now: datetime
    days: int

    @property
    def today(self) -> int:
        return int(self.now.timestamp()) // DAY

    def draw_count(self, rate: float) -> int:
        """A random number of rows, on average `rate` per new order line."""
        return int(self.random.poisson(self.sales * rate))

    def is_initial(self) -> bool:
        """Whether the database is empty and no other batch is inserting the initial rows."""
        [(has_lock,)] = self.connection.execute("SELECT pg_try_advisory_xact_lock(hashtext('meshflow: initial rows'))")
        # In a separate statement, so that it sees the commits of the last holder of the lock.
        [(is_empty,)] = self.connection.execute(
            "SELECT NOT EXISTS (SELECT FROM edtech.students) AND NOT EXISTS (SELECT FROM edtech.courses)"
        )
        return bool(has_lock and is_empty)

    def insert_initial_rows(self) -> RowCounts:
        """Insert the initial students and courses, and a year of enrollments."""
        past = replace(self, days=INITIAL_DAYS, fault_rate=0)
        return (
            past.add_courses(len(reference_data.COURSE_NAMES))
            + past.add_students(INITIAL_STUDENTS)
            + past.add_enrollments(INITIAL_ENROLLMENTS)
        )

    def add_students(self, size: int) -> RowCounts:
        student_id = self._take_ids(STUDENTS, size)
        enrollment_date = _draw_times(self.random, size, self.now, self.days) // DAY
        rows = {
            "student_id": _texts(student_id, str),
            **_attribute_columns(reference_data.Student._fields, map(reference_data.student, student_id.tolist())),
            "enrollment_date": _texts(enrollment_date, _date),
            "date_of_birth": _texts(enrollment_date - self.random.integers(16 * 366, 48 * 365, size), _date),
        }
        return RowCounts(students=size, faulty=self._copy(STUDENTS, rows, _student_faults(self.today)))

    def add_courses(self, size: int) -> RowCounts:
        """Insert courses that start two weeks to five months after their announcement."""
        if not size:
            return RowCounts()
        course_id = self._take_ids(COURSES, size)
        announced = _draw_times(self.random, size, self.now, self.days) // DAY
        start_date = announced + self.random.integers(14, ENROLLMENT_LEAD_DAYS, size)
        rows = {
            "course_id": _texts(course_id, str),
            **_attribute_columns(reference_data.Course._fields, map(reference_data.course, course_id.tolist())),
            "start_date": _texts(start_date, _date),
            "end_date": _texts(start_date + self.random.choice(reference_data.COURSE_DAYS, size), _date),
        }
        return RowCounts(courses=size, faulty=self._copy(COURSES, rows, COURSE_FAULTS))

    def add_enrollments(self, size: int) -> RowCounts:
        """Insert up to `size` enrollments in the batch's days, between the sign-up and the end of the course."""
        students, courses = self._students_to_enroll(size), self._open_courses()
        if not len(students) or not len(courses):
            return RowCounts()
        student_id, signed_up = students[self.random.integers(0, len(students), size)].T
        course_id, start_date, end_date = courses[self.random.integers(0, len(courses), size)].T
        first = np.maximum(np.maximum(signed_up, start_date - ENROLLMENT_LEAD_DAYS), self.today - self.days)
        last = np.minimum(end_date, self.today)
        _, chosen = np.unique(np.stack([student_id, course_id]), axis=1, return_index=True)
        chosen = np.sort(chosen[first[chosen] <= last[chosen]])
        rows = {
            "enrollment_id": _texts(self._take_ids(ENROLLMENTS, len(chosen)), str),
            "student_id": _texts(student_id[chosen], str),
            "course_id": _texts(course_id[chosen], str),
            "enrollment_date": _texts(self.random.integers(first[chosen], last[chosen] + 1), _date),
        }
        return RowCounts(enrollments=len(chosen), faulty=self._copy(ENROLLMENTS, rows, _enrollment_faults(self.today)))

    def add_sales(self) -> RowCounts:
        def take_ids(size: int) -> Numbers:
            return self._take_ids(SALES, size)

        rows = sale_rows(self.random, self.sales, take_ids, now=self.now, days=self.days)
        return RowCounts(sales=self.sales, faulty=self._copy(SALES, rows, _sale_faults(self.today)))

    def correct(self) -> RowCounts:
        return RowCounts(corrected=self._correct_sales() + self._correct_students() + self._extend_courses())

    def cancel(self) -> RowCounts:
        orders = self._lock(SALES, CANCELLED_ORDERS, newest=self._recent_count(NEW_ORDERS))
        enrollments = self._lock(ENROLLMENTS, CANCELLED_ENROLLMENTS, newest=self._recent_count(NEW_ENROLLMENTS))
        cancelled = self._delete(SALES, orders) + self._delete(ENROLLMENTS, enrollments)
        return RowCounts(cancelled=cancelled + self._delete_leaving_students())

    def _correct_sales(self) -> int:
        """Set a new quantity, discount or shipping cost in one line of recent orders; never a new order date."""
        keys = self._lock(SALES, CORRECTED_ORDERS, newest=self._recent_count(NEW_ORDERS))
        _, first_lines = np.unique(keys[:, 0], return_index=True)
        lines = keys[first_lines]
        choices = (reference_data.QUANTITIES, reference_data.DISCOUNTS, reference_data.SHIPPING_COSTS)
        new_values = self._keep_one_per_row([_draw_values(self.random, values, len(lines)) for values in choices])
        return self.connection.execute(
            """UPDATE retail.sales AS sale SET
              quantity = coalesce(new.quantity, sale.quantity),
              discount = coalesce(new.discount, sale.discount),
              shipping_cost = coalesce(new.shipping_cost, sale.shipping_cost)
            FROM unnest(%s::bigint[], %s::bigint[], %s::integer[], %s::numeric[], %s::numeric[])
              AS new (order_id, product_id, quantity, discount, shipping_cost)
            WHERE sale.order_id = new.order_id AND sale.product_id = new.product_id""",
            [*lines.T.tolist(), *new_values],
        ).rowcount

    def _correct_students(self) -> int:
        """Set a new last name or a new e-mail address."""
        student_ids = self._lock(STUDENTS, CORRECTED_STUDENTS)[:, 0]
        last_names = _draw_values(self.random, reference_data.LAST_NAMES, len(student_ids))
        emails = _texts(student_ids, "student{}@example.net".format)
        new_values = self._keep_one_per_row([last_names, emails])
        return self.connection.execute(
            """UPDATE edtech.students AS student SET
              last_name = coalesce(new.last_name, student.last_name),
              email = coalesce(new.email, student.email)
            FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS new (student_id, last_name, email)
            WHERE student.student_id = new.student_id""",
            [student_ids.tolist(), *new_values],
        ).rowcount

    def _keep_one_per_row(self, columns: Sequence[Texts]) -> list[list[str | None]]:
        """`columns` with one randomly chosen value per row, and None for the others."""
        chosen = self.random.integers(0, len(columns), len(columns[0])).tolist()
        return [
            [text if choice == number else None for text, choice in zip(column, chosen, strict=True)]
            for number, column in enumerate(columns)
        ]

    def _extend_courses(self) -> int:
        """Extend courses that have not ended by a week."""
        course_ids = self._lock(COURSES, CORRECTED_COURSES)[:, 0]
        if not len(course_ids):
            return 0
        return self.connection.execute(
            "UPDATE edtech.courses SET end_date = end_date + 7 WHERE course_id = ANY(%s) AND end_date >= %s",
            [course_ids.tolist(), self.now.date()],
        ).rowcount

    def _delete_leaving_students(self) -> int:
        """Mark students and their enrollments as deleted."""
        students = self._lock(STUDENTS, LEAVING_STUDENTS)
        if not len(students):
            return 0
        enrollments = self.connection.execute(
            """SELECT enrollment_id FROM edtech.enrollments WHERE student_id = ANY(%s) AND deleted_at IS NULL
            FOR UPDATE SKIP LOCKED""",
            [students[:, 0].tolist()],
        )
        return self._delete(STUDENTS, students) + self._delete(ENROLLMENTS, _numbers(enrollments, 1))

    def _students_to_enroll(self, size: int) -> Numbers:
        """Ids and sign-up days, shape (students, 2). Locked against deletion until this batch is committed."""
        students = self.connection.execute(
            """SELECT student_id, enrollment_date - DATE '1970-01-01' FROM edtech.students
            WHERE student_id = ANY(%s) AND deleted_at IS NULL AND enrollment_date IS NOT NULL
            ORDER BY student_id FOR KEY SHARE SKIP LOCKED""",
            [self._draw_ids(STUDENTS, size)],
        )
        return _numbers(students, 2)

    def _open_courses(self) -> Numbers:
        """Ids, first and last days of the courses open to enrollment in the batch's days, shape (courses, 3)."""
        courses = self.connection.execute(
            """SELECT course_id, start_date - DATE '1970-01-01', end_date - DATE '1970-01-01' FROM edtech.courses
            WHERE deleted_at IS NULL
              AND start_date <= %(today)s::date + %(ahead)s AND end_date >= %(today)s::date - %(days)s
            ORDER BY course_id""",
            {"today": self.now.date(), "ahead": ENROLLMENT_LEAD_DAYS, "days": self.days},
        )
        return _numbers(courses, 3)

    def _take_ids(self, table: Table, size: int) -> Numbers:
        """Unique ids. Not a range: concurrent batches may take ids in between."""
        [(ids,)] = self.connection.execute(
            "SELECT array_agg(nextval(%s::regclass)) FROM generate_series(1, %s)", [table.ids, size]
        )
        return np.array(ids or [], np.int64)

    def _draw_ids(self, table: Table, size: int, newest: int | None = None) -> list[int]:
        """`size` random ids, optionally of the `newest` rows. Ids may repeat; rows may be missing or uncommitted."""
        if not size:
            return []
        query = sql.SQL("SELECT max({}) FROM {}").format(sql.Identifier(table.key[0]), table.identifier)
        [(last,)] = self.connection.execute(query)
        if last is None:
            return []
        drawn: list[int] = self.random.integers(max(1, last - (newest or last) + 1), last + 1, size).tolist()
        return drawn

    def _recent_count(self, rate: float) -> int:
        """The number of new rows in recent batches, at `rate` per order line."""
        return ceil(RECENT_BATCHES * self.sales * rate)

    def _lock(self, table: Table, rate: float, newest: int | None = None) -> Numbers:
        """Lock random active rows and return their keys, shape (rows, columns). Rows locked by others are skipped."""
        query = sql.SQL(
            """SELECT {key} FROM {table} WHERE {id} = ANY(%s) AND deleted_at IS NULL
            ORDER BY {key} FOR UPDATE SKIP LOCKED"""
        ).format(key=_columns(table.key), table=table.identifier, id=sql.Identifier(table.key[0]))
        ids = self._draw_ids(table, self.draw_count(rate), newest)
        return _numbers(self.connection.execute(query, [ids]) if ids else [], len(table.key))

    def _delete(self, table: Table, keys: Numbers) -> int:
        """Soft-delete rows; return how many."""
        arrays = sql.SQL(", ").join([sql.SQL("%s::bigint[]")] * len(table.key))
        query = sql.SQL("UPDATE {table} SET deleted_at = %s WHERE ({key}) IN (SELECT * FROM unnest({arrays}))").format(
            table=table.identifier, key=_columns(table.key), arrays=arrays
        )
        return self.connection.execute(query, [self.now, *keys.T.tolist()]).rowcount

    def _copy(self, table: Table, rows: Rows, faults: Sequence[Fault]) -> int:
        """Inject `faults` into some rows and write all rows; return how many are faulty."""
        faulty = _inject_faults(self.random, rows, faults, self.fault_rate)
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(table.identifier, _columns(rows))
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in copy_texts(rows):
                copy.write(chunk)
        return faulty


def sale_rows(
    random: np.random.Generator, size: int, take_ids: Callable[[int], Numbers], *, now: datetime, days: int
) -> Rows:
    """`size` order lines without faults; `take_ids` returns the given number of order ids."""
    order = np.repeat(np.arange(size), random.choice(reference_data.LINES_PER_ORDER, size))[:size]
    line = np.arange(size) - np.searchsorted(order, order)
    orders = len(np.unique(order))

    ordered_at = _draw_times(random, orders, now, days)
    paid_after = np.minimum(random.integers(20, BATCH_SECONDS, orders), int(now.timestamp()) - ordered_at)
    # The square favors low numbers: 1 % of the customers have 10 % of the orders.
    customer = (CUSTOMERS * random.random(orders) ** 2).astype(np.int64)
    first_product = (reference_data.PRODUCT_COUNT * random.random(orders) ** 2).astype(np.int64)
    # Two different steps, neither of which leads back to the first product: three different products.
    step = random.integers(1, reference_data.PRODUCT_COUNT, orders)
    other_step = random.integers(1, reference_data.PRODUCT_COUNT - 1, orders)
    other_step += other_step >= step
    product = (
        first_product[order] + np.stack([np.zeros_like(step), step, other_step])[line, order]
    ) % reference_data.PRODUCT_COUNT
    percent = np.where(random.random(size) < LIST_PRICE_SHARE, 100, random.integers(90, 111, size))

    return {
        "order_id": _texts(take_ids(orders), str)[order],
        "product_id": _texts(product + 1, str),
        "product": _products()["product"][product],
        "product_category": _products()["product_category"][product],
        "quantity": _draw_values(random, reference_data.QUANTITIES, size),
        "price": _texts((_list_prices()[product] * percent + 50) // 100, _money),
        "discount": _draw_values(random, reference_data.DISCOUNTS, size),
        "shipping_cost": _draw_values(random, reference_data.SHIPPING_COSTS, size),
        "customer_id": _texts(customer + 1, str)[order],
        **{name: attributes[customer[order]] for name, attributes in _customers().items()},
        "order_date_at": _timestamps(ordered_at)[order],
        "purchased_at": _timestamps(ordered_at + paid_after)[order],
    }


def copy_texts(rows: Rows) -> Iterator[str]:
    """`rows` in the text format of COPY, in chunks."""
    lines = map("\t".join, zip(*(column.tolist() for column in rows.values()), strict=True))
    while chunk := "\n".join(islice(lines, ROWS_PER_WRITE)):
        yield chunk + "\n"


def _student_faults(today: int) -> Sequence[Fault]:
    in_a_year = _date(today + 365)
    return (
        {"first_name": NULL, "last_name": NULL},
        {"enrollment_date": NULL},
        {"enrollment_date": in_a_year},
        {"enrollment_date": "1926-03-01"},
        {"date_of_birth": in_a_year},
        {"date_of_birth": "1866-10-14"},
        # Flagged, not rejected.
        {"last_name": NULL},
        {"email": NULL},
        {"date_of_birth": NULL},
    )


COURSE_FAULTS: Sequence[Fault] = (
    {"course_name": NULL},
    {"start_date": NULL},
    {"end_date": NULL},
    {"end_date": "2000-01-01"},
    {"start_date": "1926-03-01"},
    {"credits": NULL},
    {"credits": "0"},
)


def _enrollment_faults(today: int) -> Sequence[Fault]:
    return (
        {"student_id": NULL},
        {"student_id": "999999999999"},
        {"course_id": NULL},
        {"course_id": "999999999999"},
        {"enrollment_date": NULL},
        {"enrollment_date": _date(today + 365)},
        {"enrollment_date": "1926-03-01"},
        # Flagged, not rejected: before the sign-up.
        {"enrollment_date": "2000-01-01"},
    )


def _sale_faults(today: int) -> Sequence[Fault]:
    return (
        {"customer_id": NULL},
        {"order_date_at": NULL},
        {"order_date_at": f"{_date(today + 365)}T12:00:00Z"},
        {"order_date_at": "1926-03-01T12:00:00Z"},
        {"purchased_at": "1926-03-01T12:00:00Z"},
        {"quantity": NULL},
        {"quantity": "0"},
        {"quantity": "-2"},
        {"price": NULL},
        {"price": "-19.99"},
        {"discount": NULL},
        {"discount": "15"},
        {"shipping_cost": "-4.95"},
        {"quantity": "1000000", "price": "99999.99"},
        {"quantity": "-1", "price": "-1.00", "discount": "-0.1"},
        # Flagged, not rejected.
        {"price": "0.00"},
        {"shipping_cost": NULL},
        {"city": NULL, "province": NULL, "country": NULL},
        {"province": "Atlantis"},
    )


def _inject_faults(random: np.random.Generator, rows: Rows, faults: Sequence[Fault], fault_rate: float) -> int:
    """Inject one of `faults` into each of a random share `fault_rate` of `rows`, modifying them; return how many."""
    size = len(next(iter(rows.values())))
    fault = np.where(random.random(size) < fault_rate, random.integers(0, len(faults), size), -1)
    for number, columns in enumerate(faults):
        for name, text in columns.items():
            rows[name][fault == number] = text
    return int(np.count_nonzero(fault >= 0))


def _draw_times(random: np.random.Generator, size: int, now: datetime, days: int) -> Numbers:
    """Seconds since 1970, in the last `days` days. With 0 days: minutes before `now`, and hours or days for a few."""
    seconds = int(now.timestamp())
    if days:
        return seconds - random.integers(0, days * DAY, size)
    is_late = random.random(size) < LATE_SHARE
    return seconds - np.where(is_late, random.integers(*LATE_SECONDS, size), random.integers(0, BATCH_SECONDS, size))


@cache
def _customers() -> Rows:
    """Attributes by customer_id - 1."""
    return _attribute_columns(reference_data.Customer._fields, map(reference_data.customer, range(1, CUSTOMERS + 1)))


@cache
def _products() -> Rows:
    """Attributes by product_id - 1."""
    return _attribute_columns(
        reference_data.Product._fields, map(reference_data.product, range(1, reference_data.PRODUCT_COUNT + 1))
    )


@cache
def _list_prices() -> Numbers:
    """Cents by product_id - 1."""
    return np.array(
        [int(reference_data.product(number).list_price * 100) for number in range(1, reference_data.PRODUCT_COUNT + 1)]
    )


def _attribute_columns(names: Sequence[str], records: Iterable[tuple[object, ...]]) -> Rows:
    """Records as columns by name; None becomes NULL."""
    records = list(records)
    return {
        name: np.array([NULL if record[number] is None else str(record[number]) for record in records], np.object_)
        for number, name in enumerate(names)
    }


def _numbers(rows: Iterable[Sequence[int]], columns: int) -> Numbers:
    return np.array(list(rows), np.int64).reshape(-1, columns)


def _draw_values(random: np.random.Generator, values: Sequence[object], size: int) -> Texts:
    return np.array(list(map(str, values)), np.object_)[random.integers(0, len(values), size)]


def _texts(numbers: Numbers, text: Callable[[int], str]) -> Texts:
    """`text` of each number, computed once per distinct number."""
    distinct, index = np.unique(numbers, return_inverse=True)
    return np.array(list(map(text, distinct.tolist())), np.object_)[index]


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _date(day: int) -> str:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()


def _timestamps(seconds: Numbers) -> Texts:
    """Concatenated from the few distinct days and times of day: four times as fast as from distinct seconds."""
    day, second = np.divmod(seconds, DAY)
    timestamps: Texts = _texts(day, _date) + _times_of_day()[second]
    return timestamps


@cache
def _times_of_day() -> Texts:
    """By second of the day."""
    seconds = range(DAY)
    return np.array([f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z" for s in seconds], np.object_)


def _columns(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
