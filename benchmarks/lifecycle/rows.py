"""Generate loaded rows for a warehouse of any size: drawn by hashes of their numbers, equal on every machine.

More rows are a longer history, not a busier shop: SALES_PER_DAY order lines a day, as many days as needed until TODAY.
Names, products and locations are those of meshflow.reference_data. About a hundredth of the rows is rejected.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import duckdb

from meshflow import reference_data
from meshflow.loading.contract import contract

SALES_PER_DAY = 10_000
CHANGED = 10_000
"""Order lines that an hour writes: 0.1 % of ten million. Enrollments are a quarter of that, students a twentieth."""
TODAY = "2026-11-01"
"""When the history ends and the first hour begins."""
LATE_DAYS = 90
"""Largest age of late rows: a twentieth of the new rows, a tenth of the changed ones."""
LOCATION_SALT = "place"
"""Changing it changes the rows drawn, so results/statements.json has to be counted again."""

PRODUCT_IDS = range(1, reference_data.PRODUCT_COUNT + 1)
CHOICES = {
    "first_name": reference_data.FIRST_NAMES,
    "last_name": reference_data.LAST_NAMES,
    "gender": reference_data.GENDERS,
    "course_name": reference_data.COURSE_NAMES,
    "course_days": reference_data.COURSE_DAYS,
    "credits": reference_data.CREDITS,
    **{
        column: values
        for column, *values in zip(
            reference_data.Product._fields, *map(reference_data.product, PRODUCT_IDS), strict=True
        )
    },
    **dict(zip(("city", "province", "country"), zip(*reference_data.LOCATIONS, strict=True), strict=True)),
    "quantity": reference_data.QUANTITIES,
    "discount": reference_data.DISCOUNTS,
    "shipping_cost": reference_data.SHIPPING_COSTS,
}

MACROS = f"""
CREATE TEMP MACRO draw(key, salt, choices) AS (hash(key, salt) % choices)::BIGINT;
-- Time of event `number` of `count`, if events are spread evenly over `days` before TODAY.
CREATE TEMP MACRO event_time(number, count, days) AS
  TIMESTAMP '{TODAY}' - to_microseconds(((count - number) * (days * 86400000000 / count))::BIGINT);
"""

SALES = f"""
WITH drawn AS (
  SELECT
    line,
    ordered_at,
    1 + line // 2 AS order_id,
    1 + draw(line // 2, 'product', {reference_data.PRODUCT_COUNT // 2}) * 2 + line % 2 AS product_id,
    1 + draw(line // 2, 'customer', $customers) AS customer_id,
    draw(line, 'fault', 600) AS fault,
    draw(line, 'fate', 300) = 0 AS is_cancelled
  FROM {{lines}}
)
SELECT
  order_id,
  any_first_name(customer_id, 'first') || ' ' || any_last_name(customer_id, 'last') AS cust_name,
  getvariable('product')[product_id] AS product,
  getvariable('product_category')[product_id] AS product_category,
  IF(fault = 1, -1, any_quantity(line, 'quantity')) AS quantity,
  IF(fault = 2, NULL, getvariable('list_price')[product_id]) AS price,
  ordered_at + to_minutes(draw(line, 'paid', 40)) AS purchased_at,
  product_id,
  IF(fault = 3, NULL, customer_id) AS customer_id,
  ordered_at AS order_date_at,
  IF(fault = 4, 1.5, any_discount(line, 'discount')::DECIMAL(9, 4)) AS discount,
  IF(fault = 5, -1, any_shipping_cost(line, 'shipping')::DECIMAL(18, 2)) AS shipping_cost,
  IF(fault = 6, NULL, any_city(customer_id, '{LOCATION_SALT}')) AS city,
  any_province(customer_id, '{LOCATION_SALT}') AS province,
  any_country(customer_id, '{LOCATION_SALT}') AS country,
  ordered_at AS created_at,
  ordered_at AS updated_at,
  IF(is_cancelled, ordered_at, NULL) AS deleted_at,
  to_timestamp($loaded_at)::TIMESTAMP AS _loaded_at
FROM drawn
"""

STUDENTS = """
SELECT
  student AS student_id,
  IF(draw(student, 'fault', 300) = 1, '', any_first_name(student, 'first')) AS first_name,
  IF(draw(student, 'fault', 300) = 1, NULL, any_last_name(student, 'last')) AS last_name,
  'student' || student // 2 || '@example.org' AS email,
  any_gender(student, 'gender') AS gender,
  DATE '1965-01-01' + draw(student, 'birth', 14000)::INT AS date_of_birth,
  joined_at::DATE AS enrollment_date,
  joined_at AS created_at,
  joined_at AS updated_at,
  IF(draw(student, 'fate', 300) = 0, joined_at, NULL) AS deleted_at,
  to_timestamp($loaded_at)::TIMESTAMP AS _loaded_at
FROM (SELECT student, event_time(student, $students, $days) AS joined_at FROM range($first, $last) AS numbers(student))
"""

COURSES = """
SELECT
  course AS course_id,
  any_course_name(course, 'name') || ' ' || course AS course_name,
  any_first_name(course, 'first') || ' ' || any_last_name(course, 'last') AS instructor_name,
  any_credits(course, 'credits') AS credits,
  planned_at::DATE + 30 AS start_date,
  planned_at::DATE + 30 + any_course_days(course, 'days') AS end_date,
  planned_at AS created_at,
  planned_at AS updated_at,
  to_timestamp($loaded_at)::TIMESTAMP AS _loaded_at
FROM (SELECT course, event_time(course, $courses, $days) AS planned_at FROM range($first, $last) AS numbers(course))
"""

ENROLLMENTS = """
SELECT
  enrollment AS enrollment_id,
  IF(draw(enrollment, 'fault', 300) = 1, -1, 1 + draw(enrollment, 'student', $students)) AS student_id,
  1 + draw(enrollment, 'course', $courses) AS course_id,
  enrolled_at::DATE AS enrollment_date,
  enrolled_at AS created_at,
  enrolled_at AS updated_at,
  IF(draw(enrollment, 'fate', 300) = 0, enrolled_at, NULL) AS deleted_at,
  to_timestamp($loaded_at)::TIMESTAMP AS _loaded_at
FROM (
  SELECT enrollment, event_time(enrollment, $enrollments, $days) AS enrolled_at
  FROM range($first, $last) AS numbers(enrollment)
)
"""


SHARES = (("students", STUDENTS, 20), ("courses", COURSES, 5000), ("enrollments", ENROLLMENTS, 4))
"""Tables, the query of their rows, and the number of order lines that an hour writes per row of theirs."""
CORRECTED = {
    "students": "last_name = 'Smith'",
    "courses": "credits = credits + 1",
    "enrollments": "deleted_at = IF(enrollment_id % 10 = 0, $written_at, deleted_at)",
}
"""Changes that the source makes to rows, by table."""


def build(data: str, sales: int, loaded_at: int) -> dict[str, int]:
    """Create live_raw.duckdb in `data`, with all rows before TODAY, loaded a day before `loaded_at`.

    `loaded_at`, in seconds since 1970, is the start of a later load without new rows. Returns the rows by table.
    """
    day_before = loaded_at - 24 * 60 * 60
    sizes = _sizes(sales)
    with _raw(data) as raw:
        for table in contract().values():
            columns = ", ".join(f"{column.name} {column.type.sql('duckdb')}" for column in table.columns)
            raw.execute(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
            raw.execute(f"CREATE TABLE {table} ({columns})")
        lines = "(SELECT line, event_time(line, $sales, $days) AS ordered_at FROM range($sales) AS numbers(line))"
        rows = {"retail.sales": _add(raw, "retail.sales", SALES.format(lines=lines), **sizes, loaded_at=day_before)}
        for entity, query in (("students", STUDENTS), ("courses", COURSES), ("enrollments", ENROLLMENTS)):
            table = f"edtech.{entity}"
            rows[table] = _add(raw, table, query, **sizes, first=1, last=sizes[entity] + 1, loaded_at=day_before)
        _record(raw, rows, day_before)
        _record(raw, dict.fromkeys(rows, 0), loaded_at)
    reconcile(data, loaded_at)
    return rows


def reconcile(data: str, counted_at: int) -> None:
    """Record that source and RAW are equal, as `meshflow reconcile` does. Daily models wait for it."""
    with _raw(data) as raw:
        for table in ("retail.sales", "edtech.students", "edtech.courses", "edtech.enrollments"):
            raw.execute(
                f"""
                INSERT INTO loader.reconciliations BY NAME SELECT
                  $table AS source_table,
                  updated_at::DATE AS updated_date,
                  count(*) FILTER (deleted_at IS NULL) AS source_count,
                  source_count AS raw_count,
                  count(*) - source_count AS source_deleted_count,
                  source_deleted_count AS raw_deleted_count,
                  0 AS source_checksum,
                  0 AS raw_checksum,
                  0 AS missing_in_raw_count,
                  0 AS missing_in_source_count,
                  to_timestamp($counted_at)::TIMESTAMP AS counted_at
                FROM {table}
                GROUP BY updated_date
                """,
                {"table": table, "counted_at": counted_at},
            )


def change(data: str, sales: int, hour: int, loaded_at: int) -> dict[str, int]:
    """Load the rows of one `hour` after TODAY, from 1, onto `sales` order lines and the rows of earlier hours.

    Six tenths are new, four tenths changed or cancelled; some are up to LATE_DAYS old. Returns the rows by table.
    """
    sizes = _sizes(sales)
    written_at = datetime.fromisoformat(TODAY) + timedelta(hours=hour)
    new, old = CHANGED * 6 // 10, CHANGED * 4 // 10
    with _raw(data) as raw:
        lines = f"""(
          SELECT
            $sales + {(hour - 1) * new} + number AS line,
            $written_at - to_minutes(draw(number, $hour, 60))
            - to_days(IF(number % 20 = 0, draw(number, $hour, {LATE_DAYS}), 0)::INT) AS ordered_at
          FROM range({new}) AS numbers(number)
        )"""
        parameters = {"written_at": written_at, "hour": hour, "loaded_at": loaded_at}
        rows = {"retail.sales": _add(raw, "retail.sales", SALES.format(lines=lines), **sizes, **parameters)}
        # Orders of the last three days, one in ten of the last LATE_DAYS; both lines of each.
        rows["retail.sales"] += _update(
            raw,
            f"""
            UPDATE retail.sales SET
              shipping_cost = shipping_cost + 1,
              deleted_at = IF(order_id % 10 = 0, $written_at, deleted_at),
              updated_at = $written_at,
              _loaded_at = to_timestamp($loaded_at)::TIMESTAMP
            WHERE order_id IN (
              SELECT $sales // 2 - draw(number, $hour, IF(number % 10 = 0, {LATE_DAYS}, 3) * {SALES_PER_DAY} // 2)
              FROM range({old // 2}) AS numbers(number)
            )
            """,
            sales=sales,
            **parameters,
        )
        for entity, query, share in SHARES:
            first = sizes[entity] + 1 + (hour - 1) * (new // share)
            table = f"edtech.{entity}"
            rows[table] = _add(raw, table, query, **sizes, first=first, last=first + new // share, loaded_at=loaded_at)
            rows[table] += _update(
                raw,
                f"""
                UPDATE {table} SET
                  {CORRECTED[entity]},
                  updated_at = $written_at,
                  _loaded_at = to_timestamp($loaded_at)::TIMESTAMP
                WHERE {table.removeprefix("edtech.").removesuffix("s")}_id IN (
                  SELECT $count - draw(number, $hour, $count // 10)
                  FROM range({max(old // share, 1)}) AS numbers(number)
                )
                """,
                count=sizes[entity],
                **parameters,
            )
        _record(raw, rows, loaded_at)
    return rows


def _sizes(sales: int) -> dict[str, int]:
    return {
        "sales": sales,
        "days": max(sales // SALES_PER_DAY, 1),
        "customers": max(sales // 20, 1),
        "students": max(sales // 20, 1),
        "courses": max(sales // 2500, 1),
        "enrollments": max(sales // 4, 1),
    }


@contextmanager
def _raw(data: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(f"{data}/live_raw.duckdb") as raw:
        raw.execute("SET TimeZone = 'UTC'")
        raw.execute(MACROS)
        for name, choices in CHOICES.items():
            raw.execute("CREATE OR REPLACE TEMP TABLE choices AS SELECT $1 AS list", [list(choices)])
            raw.execute(f"SET VARIABLE {name} = (SELECT list FROM choices)")
            # The length is a literal, or DuckDB would compute it for each row.
            drawn = f"getvariable('{name}')[1 + draw(key, salt, {len(choices)})]"
            raw.execute(f"CREATE TEMP MACRO any_{name}(key, salt) AS {drawn}")
        yield raw


def _add(raw: duckdb.DuckDBPyConnection, table: str, query: str, **parameters: object) -> int:
    return _update(raw, f"INSERT INTO {table} BY NAME {query}", **parameters)


def _update(raw: duckdb.DuckDBPyConnection, statement: str, **parameters: object) -> int:
    used = {name: value for name, value in parameters.items() if re.search(rf"\${name}\b", statement)}
    [(rows,)] = raw.execute(statement, used).fetchall()
    return int(rows)


def _record(raw: duckdb.DuckDBPyConnection, rows: dict[str, int], loaded_at: int) -> None:
    """Write to the load log as a finished load does; the signal `source_loaded` waits for it."""
    for table, count in rows.items():
        raw.execute(
            """
            INSERT INTO loader.loads BY NAME SELECT
              split_part($table, '.', 1) AS source,
              split_part($table, '.', 2) AS table_name,
              to_timestamp($loaded_at)::TIMESTAMP AS started_at,
              started_at AS finished_at,
              $count AS row_count
            """,
            {"table": table, "loaded_at": loaded_at, "count": count},
        )
