"""Expected rows of RAW, the facts and daily revenue, computed by PostgreSQL from the source tables alone."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psycopg

TABLES = {
    "edtech.students": (
        "student_id, first_name, last_name, email, gender, enrollment_date, date_of_birth, created_at, updated_at, "
        "deleted_at"
    ),
    "edtech.courses": (
        "course_id, course_name, instructor_name, credits, start_date, end_date, created_at, updated_at, deleted_at"
    ),
    "edtech.enrollments": ("enrollment_id, student_id, course_id, enrollment_date, created_at, updated_at, deleted_at"),
    "retail.sales": (
        "order_id, cust_name, product, product_category, quantity, price, purchased_at, product_id, customer_id, "
        "order_date_at, discount, shipping_cost, city, province, country, created_at, updated_at, deleted_at"
    ),
}


def _normalized(column: str) -> str:
    """SQL for a location's name without case, accents and repeated white space; 'unknown' if nothing is left."""
    letters = f"regexp_replace(normalize(lower({column}), NFD), '[\u0300-\u036f]', '', 'g')"
    return f"coalesce(nullif(trim(regexp_replace({letters}, '\\s+', ' ', 'g')), ''), 'unknown')"


# No valid row is dated more than 30 days ahead: later dates are faults, to be rejected.
STUDENTS = """
    SELECT * FROM edtech.students
    WHERE deleted_at IS NULL AND trim(coalesce(first_name, '') || coalesce(last_name, '')) <> ''
      AND enrollment_date >= '1990-01-01' AND enrollment_date < now() + interval '30 days'
      AND coalesce(date_of_birth >= '1900-01-01' AND date_of_birth < enrollment_date, true)
"""
COURSES = """
    SELECT * FROM edtech.courses
    WHERE deleted_at IS NULL AND trim(course_name) <> '' AND start_date <= end_date AND start_date >= '1990-01-01'
      AND credits BETWEEN 1 AND 60
"""
ENROLLMENTS = f"""
    SELECT enrollment_id, student_id, course_id, enrollments.enrollment_date,
      enrollments.enrollment_date < students.enrollment_date, enrollments.enrollment_date > courses.end_date,
      enrollments.updated_at
    FROM edtech.enrollments
    JOIN ({STUDENTS}) AS students USING (student_id)
    JOIN ({COURSES}) AS courses USING (course_id)
    WHERE enrollments.deleted_at IS NULL
      AND enrollments.enrollment_date >= '1990-01-01' AND enrollments.enrollment_date < now() + interval '30 days'
"""
LINES = f"""
    SELECT *, order_date_at::date AS order_date,
      md5(concat_ws(E'\t', {_normalized("country")}, {_normalized("province")}, {_normalized("city")})) AS location_id,
      round(quantity * price, 2) AS gross, round(quantity * price * discount, 2) AS reduction,
      coalesce(shipping_cost, 0) AS shipping
    FROM retail.sales
    WHERE deleted_at IS NULL AND customer_id IS NOT NULL AND order_date_at < now() + interval '30 days'
      AND order_date_at >= '1990-01-01' AND coalesce(purchased_at, now()) BETWEEN '1990-01-01' AND '2100-01-01'
      AND quantity BETWEEN 1 AND 1000000 AND price BETWEEN 0 AND 100000000 AND quantity * price < 1000000000
      AND discount BETWEEN 0 AND 1
      AND coalesce(shipping_cost, 0) BETWEEN 0 AND 1000000
"""
SALES = f"""
    SELECT order_id, product_id, customer_id, location_id, order_date, order_date_at, purchased_at, quantity, price,
      discount, gross, reduction, gross - reduction, shipping, price = 0, updated_at
    FROM ({LINES}) AS lines
"""
REVENUE = f"""
    SELECT order_date, location_id, count(DISTINCT order_id), count(*), sum(quantity), sum(gross), sum(reduction),
      sum(gross) - sum(reduction), sum(shipping)
    FROM ({LINES}) AS lines GROUP BY order_date, location_id
"""
SERVED = {
    "edtech.fct_enrollment": ENROLLMENTS,
    "retail.fct_sales": SALES,
    "retail.rpt_revenue_daily": REVENUE,
}

HISTORIES = {
    "history.hist_student": ("student_id", "edtech.dim_student", "full_name, gender, enrollment_date"),
    "history.hist_course": (
        "course_id",
        "edtech.dim_course",
        "course_name, instructor_name, credits, start_date, end_date",
    ),
    "history.hist_customer": ("customer_id", "retail.dim_customer", "customer_name, location_id"),
}
"""By history: its key, the dimension that shows the current versions, and the columns in both."""

Rows = Counter[tuple[object, ...]]


def raw_differences(url: str, data: Path) -> list[str]:
    """Compare RAW in the folder `data`, row by row, with what the sources at `url` have committed; [] if equal."""
    with duckdb.connect() as warehouse, psycopg.connect(url, options="-c timezone=UTC") as source:
        warehouse.execute(f"ATTACH '{data / 'live_raw.duckdb'}' AS RAW (READ_ONLY)")
        return [
            line
            for table, columns in TABLES.items()
            for line in _differences(
                f"RAW.{table}",
                _rows(source, f"SELECT {columns} FROM {table}"),
                _rows(warehouse, f"SELECT {columns} FROM RAW.{table} WHERE _deleted_at IS NULL"),
            )
        ]


def served_differences(url: str, data: Path) -> list[str]:
    """Compare facts and revenue, to the row and the cent, with what PostgreSQL computes; [] if equal."""
    with duckdb.connect() as warehouse, psycopg.connect(url, options="-c timezone=UTC") as source:
        warehouse.execute(f"ATTACH '{data / 'live_analytics.duckdb'}' AS ANALYTICS (READ_ONLY)")
        return [
            line
            for mart, query in SERVED.items()
            for line in _differences(
                mart,
                _rows(source, query),
                _rows(warehouse, f"SELECT COLUMNS(name -> lower(name) <> '_loaded_at') FROM ANALYTICS.{mart}"),
            )
        ]


def history_faults(data: Path) -> list[str]:
    """Histories whose current versions differ from their dimension, or whose versions overlap; [] if there are none."""
    faults = []
    with duckdb.connect() as warehouse:
        warehouse.execute(f"ATTACH '{data / 'live_analytics.duckdb'}' AS ANALYTICS (READ_ONLY)")
        for history, (key, dimension, columns) in HISTORIES.items():
            current = f"SELECT {key}, {columns} FROM ANALYTICS.{history} WHERE valid_to IS NULL"
            expected = _rows(warehouse, f"SELECT {key}, {columns} FROM ANALYTICS.{dimension}")
            faults += _differences(history, expected, _rows(warehouse, current))
            next_from = f"lead(valid_from) OVER (PARTITION BY {key} ORDER BY valid_from)"
            overlaps = (
                f"SELECT {key} FROM ANALYTICS.{history} "
                f"QUALIFY valid_from >= valid_to OR coalesce(valid_to, 'infinity') > {next_from}"
            )
            faults += [f"{history}: versions of {row} overlap" for row in _rows(warehouse, overlaps)]
    return faults


def _differences(table: str, expected: Rows, actual: Rows) -> list[str]:
    assert expected, f"{table}: no rows are expected, so the comparison proves nothing"
    return [
        f"{table}: {sum(rows.values())} of {sum(expected.values())} rows {kind}, such as {min(map(str, rows))}"
        for kind, rows in (
            ("missing or outdated", expected - actual),
            ("duplicated, outdated or not in the source", actual - expected),
        )
        if rows
    ]


def _rows(connection: duckdb.DuckDBPyConnection | psycopg.Connection, query: str) -> Rows:
    """The rows of a query and how often each occurs. Timestamps are UTC, without a time zone."""
    return Counter(tuple(map(_without_time_zone, row)) for row in connection.execute(query).fetchall())


def _without_time_zone(value: object) -> object:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value
