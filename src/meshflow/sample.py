"""The sample rows in seeds/: two realistic businesses, with every kind of fault that is rejected or flagged.

`meshflow sample DIRECTORY` writes edtech/{students,courses,enrollments}.csv, retail/sales.csv and their reconciliation,
loader/reconciliations.csv, below DIRECTORY.
The rows are the same every time: one seed, no clock, standard library only.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from zlib import crc32

from meshflow.reference_data import (
    COURSE_DAYS,
    COURSE_NAMES,
    CREDITS,
    DISCOUNTS,
    FIRST_NAMES,
    GENDERS,
    LAST_NAMES,
    LINES_PER_ORDER,
    LOCATIONS,
    PRODUCTS,
    QUANTITIES,
    SHIPPING_COSTS,
    email,
)

FIRST_LOAD = datetime(2026, 10, 25, 2, 0)
"""The first load, of all rows written before it."""
LAST_DAY = date(2026, 10, 31)
"""The day before the sample's as-of date; no row is newer."""
COUNTED_AT = datetime.combine(LAST_DAY, time(23, 59, 59))
"""When the reconciliation of the source with RAW ran, after the last load."""


@dataclass(frozen=True, kw_only=True)
class LoadedRow:
    created_at: datetime = FIRST_LOAD
    updated_at: datetime = FIRST_LOAD
    deleted_at: datetime | None = None
    _deleted_at: datetime | None = None
    _loaded_at: datetime = FIRST_LOAD


Row = TypeVar("Row", bound=LoadedRow)


@dataclass(frozen=True)
class Student(LoadedRow):
    student_id: int
    first_name: str
    last_name: str
    email: str
    gender: str | None
    enrollment_date: date
    date_of_birth: date


@dataclass(frozen=True)
class Course(LoadedRow):
    course_id: int
    course_name: str
    instructor_name: str
    credits: int
    start_date: date
    end_date: date


@dataclass(frozen=True)
class Enrollment(LoadedRow):
    enrollment_id: int
    student_id: int
    course_id: int
    enrollment_date: date


@dataclass(frozen=True)
class Sale(LoadedRow):
    order_id: int
    cust_name: str
    product: str
    product_category: str
    quantity: int
    price: Decimal
    purchased_at: datetime
    product_id: int
    customer_id: int
    order_date_at: datetime
    discount: Decimal
    shipping_cost: Decimal
    city: str
    province: str
    country: str


@dataclass(frozen=True)
class Reconciliation:
    source_table: str
    updated_date: date
    source_count: int
    raw_count: int
    source_deleted_count: int
    raw_deleted_count: int
    source_checksum: int
    raw_checksum: int
    missing_in_raw_count: int = 0
    missing_in_source_count: int = 0
    counted_at: datetime = COUNTED_AT


def students(random: Random, count: int = 240) -> list[Student]:
    rows = []
    for student_id in range(1, count + 1):
        first_name, last_name = random.choice(FIRST_NAMES), random.choice(LAST_NAMES)
        enrollment_date = _day(random, date(2022, 1, 10), LAST_DAY - timedelta(days=3))
        rows.append(
            Student(
                student_id=student_id,
                first_name=first_name,
                last_name=last_name,
                email=email(student_id, first_name, last_name),
                gender=random.choice(GENDERS),
                enrollment_date=enrollment_date,
                date_of_birth=enrollment_date - timedelta(days=random.randint(16 * 366, 48 * 365)),
                **_timestamps(random, enrollment_date),
            )
        )
    born_on_a_leap_day = altered(rows[0], date_of_birth=date(2004, 2, 29))
    turns_18_today = altered(rows[1], date_of_birth=date(2008, 11, 1))
    shares_an_email = altered(rows[2], email=rows[3].email)
    no_email = altered(rows[4], email=None)
    one_name_only = altered(rows[5], last_name=None)
    no_birth_date = altered(rows[6], date_of_birth=None)
    has_left = altered(rows[7], deleted_at=datetime(2026, 10, 29, 9, 30), **_updated(datetime(2026, 10, 29, 9, 30)))
    rows[:8] = (
        born_on_a_leap_day,
        turns_18_today,
        shares_an_email,
        rows[3],
        no_email,
        one_name_only,
        no_birth_date,
        has_left,
    )
    return rows + [
        altered(rows[10], first_name="Older", **_created(rows[10].updated_at - timedelta(days=90))),  # duplicate key
        altered(rows[11], student_id=None),
        altered(rows[12], student_id=count + 1, first_name=None, last_name=None),
        altered(rows[13], student_id=count + 2, enrollment_date=None),
        altered(rows[14], student_id=count + 3, enrollment_date=date(2031, 1, 1)),
        altered(rows[15], student_id=count + 4, date_of_birth=date(2027, 5, 5)),
        altered(rows[16], student_id=count + 5, date_of_birth=date(1866, 10, 14)),
        altered(rows[17], student_id=count + 6, enrollment_date=date(1926, 3, 1)),
    ]


def courses(random: Random) -> list[Course]:
    rows = []
    for course_id, course_name in enumerate(COURSE_NAMES, start=101):
        start_date = _day(random, date(2024, 1, 8), date(2027, 2, 1))
        rows.append(
            Course(
                course_id=course_id,
                course_name=course_name,
                instructor_name=f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}",
                credits=CREDITS[course_id % len(CREDITS)],
                start_date=start_date,
                end_date=start_date + timedelta(days=random.choice(COURSE_DAYS)),
                created_at=min(FIRST_LOAD, datetime.combine(start_date - timedelta(days=200), time(9))),
            )
        )
    starts_today = altered(rows[0], start_date=date(2026, 11, 1), end_date=date(2027, 1, 29))
    ends_today = altered(rows[1], start_date=date(2026, 8, 3), end_date=date(2026, 11, 1))
    withdrawn = altered(rows[2], deleted_at=datetime(2026, 10, 27, 15, 0), **_updated(datetime(2026, 10, 27, 15, 0)))
    rows[:3] = starts_today, ends_today, withdrawn
    return rows + [
        altered(
            rows[3], course_name="Older Title", **_created(rows[3].updated_at - timedelta(days=200))
        ),  # duplicate key
        altered(rows[4], course_id=None),
        altered(rows[5], course_id=901, course_name=None),
        altered(rows[6], course_id=902, end_date=None),
        altered(rows[7], course_id=903, end_date=rows[7].start_date - timedelta(days=1)),
        altered(rows[8], course_id=904, credits=0),
        altered(rows[9], course_id=905, credits=None),
        altered(rows[10], course_id=906, start_date=date(1926, 3, 1)),
    ]


def enrollments(random: Random, students: list[Student], courses: list[Course], count: int = 720) -> list[Enrollment]:
    clean_students, clean_courses = students[8:240], courses[3 : len(COURSE_NAMES)]
    enrolling = [student for student in clean_students if student.student_id % 12]  # every twelfth has no enrollment
    rows = []
    for enrollment_id in range(5001, 5001 + count):
        student, course = random.choice(enrolling), random.choice(clean_courses)
        first = max(student.enrollment_date, course.start_date - timedelta(days=150))
        last = min(course.end_date, LAST_DAY - timedelta(days=1))
        if first > last:
            continue
        day = _day(random, first, last)
        rows.append(
            Enrollment(
                enrollment_id=enrollment_id,
                student_id=student.student_id,
                course_id=course.course_id,
                enrollment_date=day,
                **_timestamps(random, day),
            )
        )
    ended = next(course for course in clean_courses if course.end_date < date(2026, 9, 1))
    cancelled_at = datetime(2026, 10, 30, 8, 15)
    keen = clean_students[0]
    before_sign_up, after_the_end = keen.enrollment_date - timedelta(days=20), ended.end_date + timedelta(days=9)
    next_id = rows[-1].enrollment_id + 1
    return rows + [
        altered(rows[0], enrollment_id=next_id, student_id=keen.student_id, enrollment_date=before_sign_up),
        altered(rows[1], enrollment_id=next_id + 1, course_id=ended.course_id, enrollment_date=after_the_end),
        altered(rows[2], enrollment_id=next_id + 2, deleted_at=cancelled_at, **_updated(cancelled_at)),
        altered(rows[3], **_created(rows[3].updated_at - timedelta(days=10))),  # duplicate key
        altered(rows[4], enrollment_id=None),
        altered(rows[5], enrollment_id=next_id + 3, student_id=99999),
        altered(rows[6], enrollment_id=next_id + 4, course_id=999),
        altered(rows[7], enrollment_id=next_id + 5, student_id=students[7].student_id),  # of a student who has left
        altered(rows[8], enrollment_id=next_id + 6, course_id=courses[2].course_id),  # in a course withdrawn
        altered(rows[9], enrollment_id=next_id + 7, student_id=None, course_id=None),
        altered(rows[10], enrollment_id=next_id + 8, enrollment_date=None),
        altered(rows[11], enrollment_id=next_id + 9, enrollment_date=date(2028, 6, 1)),
        altered(rows[12], enrollment_id=next_id + 10, enrollment_date=date(1926, 3, 1)),
    ]  # fmt: skip


def sales(random: Random, orders: int = 1100, customers: int = 260) -> list[Sale]:
    customer_details = {
        customer_id: (f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}", random.choice(LOCATIONS))
        for customer_id in range(1, customers + 1)
    }
    rows = []
    for order_id in range(10001, 10001 + orders):
        customer_id = random.randint(1, customers)
        name, (city, province, country) = customer_details[customer_id]
        day = _day(random, date(2025, 1, 2), LAST_DAY - timedelta(days=1))
        ordered_at = datetime.combine(day, time(random.randint(6, 22), random.randint(0, 59), random.randint(0, 59)))
        for product_id in random.sample(range(1, len(PRODUCTS) + 1), random.choice(LINES_PER_ORDER)):
            product, category, price = PRODUCTS[product_id - 1]
            rows.append(
                Sale(
                    order_id=order_id,
                    cust_name=name,
                    product=product,
                    product_category=category,
                    quantity=random.choice(QUANTITIES),
                    price=Decimal(price),
                    purchased_at=ordered_at + timedelta(minutes=random.randint(1, 40)),
                    product_id=product_id,
                    customer_id=customer_id,
                    order_date_at=ordered_at,
                    discount=Decimal(random.choice(DISCOUNTS)),
                    shipping_cost=Decimal(random.choice(SHIPPING_COSTS)),
                    city=city,
                    province=province,
                    country=country,
                    **_timestamps(random, day),
                )
            )
    cancelled_at = datetime(2026, 10, 30, 17, 45)
    cancelled = [altered(row, deleted_at=cancelled_at, **_updated(cancelled_at)) for row in rows[40:60]]
    rows[40:60] = cancelled
    next_id = 10001 + orders
    return rows + [
        altered(rows[0], order_id=next_id, price=Decimal(0)),  # given away
        # A discount of half a cent. The last row below has three faults at once.
        altered(rows[1], order_id=next_id + 1, price=Decimal("0.05"), quantity=1, discount=Decimal("0.1")),
        altered(rows[2], order_id=next_id + 2, city=None, province=None, country=None),
        altered(rows[3], order_id=next_id + 3, province="Atlantis"),
        altered(rows[4], order_id=next_id + 4, shipping_cost=None),
        altered(rows[5], quantity=99, **_created(rows[5].updated_at - timedelta(days=5))),  # duplicate key
        altered(rows[6], order_id=None),
        altered(rows[7], product_id=None),
        altered(rows[8], order_id=next_id + 5, customer_id=None),
        altered(rows[9], order_id=next_id + 6, order_date_at=None),
        altered(rows[10], order_id=next_id + 7, order_date_at=datetime(2029, 1, 1, 12, 0)),
        altered(rows[11], order_id=next_id + 8, quantity=None),
        altered(rows[12], order_id=next_id + 9, quantity=0),
        altered(rows[13], order_id=next_id + 10, quantity=-2),
        altered(rows[14], order_id=next_id + 11, price=None),
        altered(rows[15], order_id=next_id + 12, price=Decimal("-19.99")),
        altered(rows[16], order_id=next_id + 13, discount=None),
        altered(rows[17], order_id=next_id + 14, discount=Decimal("1.5")),
        altered(rows[18], order_id=next_id + 15, shipping_cost=Decimal("-4.95")),
        altered(rows[19], order_id=next_id + 16, quantity=1_000_000, price=Decimal("99999.99")),
        altered(rows[20], order_id=next_id + 17, order_date_at=datetime(1926, 3, 1, 12, 0)),
        altered(rows[21], order_id=next_id + 18, purchased_at=datetime(1926, 3, 1, 12, 0)),
        altered(rows[22], order_id=next_id + 19, quantity=-1, price=Decimal(-1), discount=Decimal("-0.1")),
    ]  # fmt: skip


def reconciliations(source_table: str, rows: Iterable[LoadedRow]) -> list[Reconciliation]:
    """The reconciliation of `source_table` with a complete RAW: one row per day of `updated_at`."""
    days: defaultdict[date, list[LoadedRow]] = defaultdict(list)
    for row in rows:
        days[row.updated_at.date()].append(row)
    reconciled = []
    for day, written in sorted(days.items()):
        active = [row for row in written if row.deleted_at is None]
        checksum = sum(crc32(repr(astuple(row)).encode()) for row in active)
        reconciled.append(
            Reconciliation(
                source_table=source_table,
                updated_date=day,
                source_count=len(active),
                raw_count=len(active),
                source_deleted_count=len(written) - len(active),
                raw_deleted_count=len(written) - len(active),
                source_checksum=checksum,
                raw_checksum=checksum,
            )
        )
    return reconciled


def altered(row: Row, **columns: Any) -> Row:
    """A copy of `row` with other values in some columns, including invalid ones."""
    return replace(row, **columns)


def _day(random: Random, first: date, last: date) -> date:
    return first + timedelta(days=random.randint(0, (last - first).days))


def _created(at: datetime) -> dict[str, Any]:
    """Timestamps of a row that was inserted at `at` and not updated since."""
    return {"created_at": at, "updated_at": at}


def _updated(at: datetime) -> dict[str, Any]:
    """Timestamps of a row that was updated at `at` and loaded at the next full hour."""
    return {"updated_at": at, "_loaded_at": at.replace(minute=0, second=0) + timedelta(hours=1)}


def _timestamps(random: Random, day: date) -> dict[str, Any]:
    """Timestamps of a row that was inserted on `day`: loaded by the first load, or later within an hour."""
    at = datetime.combine(day, time(23, random.randint(0, 59)))
    return _created(at) | ({"_loaded_at": FIRST_LOAD} if at < FIRST_LOAD else _updated(at))


def write(directory: Path) -> None:
    """Write the five files below `directory`, each completely or not at all."""
    random = Random(20261101)
    student_rows, course_rows = students(random), courses(random)
    tables: dict[str, Sequence[LoadedRow]] = {
        "edtech.students": student_rows,
        "edtech.courses": course_rows,
        "edtech.enrollments": enrollments(random, student_rows, course_rows),
        "retail.sales": sales(random),
    }
    for name, rows in tables.items():
        _write(directory / f"{name.replace('.', '/')}.csv", rows)
    reconciled = [day for name, rows in tables.items() for day in reconciliations(name, rows)]
    _write(directory / "loader" / "reconciliations.csv", reconciled)


def _write(path: Path, rows: Sequence[LoadedRow | Reconciliation]) -> None:
    load_columns = {field.name for field in fields(LoadedRow)}
    columns = sorted((field.name for field in fields(rows[0])), key=load_columns.__contains__)  # those last
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".csv.tmp")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    unfinished.replace(path)
