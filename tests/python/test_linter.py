"""Each convention of the project is a rule in linter/, and each rule reports the faults it is written for."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import duckdb
import pytest
from sources import new_state
from sqlglot import exp, parse_one, transpile
from sqlmesh.core.config import Config, load_configs
from sqlmesh.core.context import Context
from sqlmesh.core.linter.definition import AnnotatedRuleViolation
from sqlmesh.core.linter.rule import Rule
from sqlmesh.utils import sys_path
from sqlmesh.utils.errors import ConfigError
from sqlmesh.utils.metaprogramming import import_python_file
from test_dialects import DOCUMENTED
from workspace import Workspace

from meshflow.source.server import Server


@dataclass(frozen=True)
class Fault:
    """A replacement in one file of the project, the rule that has to report it, and how the message begins."""

    rule: str
    file: str
    old: str
    new: str
    message: str


# Faults don't overlap, so that one project contains all of them and is loaded once.
FAULTS = [
    Fault(
        "filenamematchesmodel",
        "models/quarantine/edtech_course.sql",
        "name quarantine.edtech_course,",
        "name quarantine.edtech_courses,",
        "models/quarantine/edtech_course.sql defines the model quarantine.edtech_courses: "
        "rename the model to quarantine.edtech_course, or move it to models/quarantine/edtech_courses.sql",
    ),
    Fault(
        "requiredmetadata",
        "models/edtech/dim_course.sql",
        "  owner learning_analytics,\n",
        "",
        "edtech.dim_course has no owner",
    ),
    Fault(
        "requiredmetadata",
        "models/edtech/dim_student.sql",
        "  grain student_id,\n",
        "",
        "edtech.dim_student has no grain",
    ),
    Fault(
        "requiredmetadata",
        "models/edtech/fct_enrollment.sql",
        "  owner learning_analytics,\n  cron '@daily',\n",
        "  cron '@daily',\n  owner learning_analytics,\n",
        "edtech.fct_enrollment has `owner` after `cron`",
    ),
    Fault(
        "requiredmetadata",
        "models/pii/student.sql",
        "  grain student_id,\n",
        "  grain student_id,\n  ignored_rules ('noselectstar'),\n",
        "pii.student has `ignored_rules`, which is not in PROPERTY_ORDER: remove it",
    ),
    Fault(
        "requiredmetadata",
        "models/retail/dim_product.sql",
        "'One row per product sold.",
        "'All products sold.",
        "The description of retail.dim_product begins with 'All products sold.",
    ),
    Fault(
        "columnsdescribed",
        "models/history/hist_course.sql",
        "AS course_name, /* Title of the course */",
        "AS course_name,",
        "Column course_name of history.hist_course has no description: add a comment",
    ),
    Fault(
        "columnsdescribed",
        "models/shared/ref_province.sql",
        ",\n    region = 'Sales region of the province or state'",
        "",
        "Column region of shared.ref_province has no description: add it to column_descriptions",
    ),
    Fault(
        "grainhasaudit",
        "models/history/hist_student.sql",
        "unique_combination_of_columns(columns := (student_id, valid_from))",
        "unique_combination_of_columns(columns := student_id)",
        "The grain (student_id, valid_from) of history.hist_student is not audited: "
        "add unique_combination_of_columns(columns",
    ),
    Fault(
        "grainhasaudit",
        "models/retail/rpt_net_revenue_by_country.sql",
        "unique_combination_of_columns(columns := country)",
        "not_null(columns := country)",
        "The grain (country) of retail.rpt_net_revenue_by_country is not audited",
    ),
    Fault(
        "grainhasaudit",
        "models/quarantine/edtech_enrollment.sql",
        "  enrollment_id,",
        "  enrollment_id + 0 AS enrollment_id,",
        "The grain (enrollment_id, recency_rank) of quarantine.edtech_enrollment is not audited",
    ),
    Fault(
        "grainhasaudit",
        "models/retail/fct_sales.sql",
        "WHERE\n  is_valid",
        "WHERE\n  NOT is_free",
        "The grain (order_id, product_id) of retail.fct_sales is not audited",
    ),
    Fault(
        "grainhasaudit",
        "models/intermediate/int_retail__customers_derived.sql",
        "condition := _loaded_at >= @start_dtntz",
        "condition := NOT city IS NULL",
        "The grain (customer_id) of intermediate.int_retail__customers_derived is not audited",
    ),
    Fault(
        "grainhasaudit",
        "models/quarantine/edtech_student.sql",
        "FROM intermediate.int_edtech__students_validated\n",
        "FROM intermediate.int_edtech__students_validated\nCROSS JOIN intermediate.int_edtech__courses_validated\n",
        "The grain (student_id, recency_rank) of quarantine.edtech_student is not audited",
    ),
    Fault(
        "grainhasaudit",
        "models/intermediate/int_retail__sales_aggregated.sql",
        "unique_combination_of_columns(columns := (order_date, location_id), condition := _loaded_at >= @start_dtntz)",
        "not_null(columns := order_date)",
        "The grain (order_date, location_id) of retail.rpt_revenue_daily is not audited",
    ),
    Fault(
        "hasunittest",
        "tests/models/pii/test_student.yaml",
        "  model: pii.student\n",
        "  model: edtech.dim_student\n",
        "tests/models/pii/test_student.yaml has no test with `model: pii.student`",
    ),
    Fault(
        "masksinviews",
        "models/intermediate/int_retail__customers_derived.sql",
        "newest.customer_name::VARCHAR AS customer_name",
        "@mask(newest.customer_name)::VARCHAR AS customer_name",
        "intermediate.int_retail__customers_derived masks a column and is stored, so all roles would see what the",
    ),
    Fault(
        "layerdependencies",
        "models/retail/dim_customer.sql",
        "FROM intermediate.int_retail__customers_derived",
        "FROM staging.stg_retail__sales",
        "retail.dim_customer reads staging.stg_retail__sales: "
        "read only from intermediate, shared, history, retail, not from staging",
    ),
    Fault(
        "layerdependencies",
        "models/ops/source_reconciliation.sql",
        "FROM staging.stg_loader__reconciliations",
        "FROM raw.loader.reconciliations",
        "ops.source_reconciliation reads raw.loader.reconciliations: read only from staging,",
    ),
    Fault(
        "layerdependencies",
        "models/edtech/rpt_student_credits.sql",
        "depends_on (edtech.dim_student, edtech.rpt_student_enrollments)",
        "depends_on (edtech.dim_student, retail.fct_sales)",
        "edtech.rpt_student_credits reads retail.fct_sales: read only from intermediate, shared, history, edtech,",
    ),
    Fault(
        "auditreadsdependencies",
        "models/edtech/rpt_course_enrollments_by_month.sql",
        "against := edtech.fct_enrollment,",
        "against := edtech.rpt_student_enrollments,",
        "edtech.rpt_course_enrollments_by_month has the audit totals_reconcile with "
        "against := edtech.rpt_student_enrollments, but does not depend on that table",
    ),
    Fault(
        "auditreadsdependencies",
        "models/retail/fct_sales.sql",
        "depends_on (\n    retail.dim_customer\n  )",
        "depends_on (\n    retail.dim_product\n  )",
        "retail.fct_sales has the audit relationships with parent := retail.dim_customer, but does not depend on "
        "that table: add retail.dim_customer to depends_on",
    ),
    Fault(
        "auditreadsdependencies",
        "models/intermediate/int_edtech__courses_validated.sql",
        "against := staging.stg_edtech__courses",
        "against := staging.stg_edtech__students",
        "intermediate.int_edtech__courses_validated has the audit row_counts_reconcile with "
        "against := staging.stg_edtech__students",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "quantity::INT AS quantity",
        "quantity",
        "Column quantity of retail.fct_sales is not cast",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "unit_price_amount::DECIMAL(18, 2) AS",
        "TRY_CAST(unit_price_amount AS DECIMAL(18, 2)) AS",
        "Column unit_price_amount of retail.fct_sales is not cast: write (…)::DECIMAL(18, 2) AS unit_price_amount",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "net_revenue_amount::DECIMAL(18, 2) AS",
        "net_revenue_amount::DECIMAL(18, 4) AS",
        "Column net_revenue_amount of retail.fct_sales is DECIMAL(18, 4): its name requires DECIMAL(18, 2)",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "discount_rate::DECIMAL(9, 4) AS",
        "discount_rate::DOUBLE AS",
        "Column discount_rate of retail.fct_sales is DOUBLE: its name requires DECIMAL",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "ordered_at::TIMESTAMPNTZ AS",
        "ordered_at::TIMESTAMPTZ AS",
        "Column ordered_at of retail.fct_sales is TIMESTAMPTZ: its name requires TIMESTAMPNTZ",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "order_date::DATE AS",
        "order_date::VARCHAR AS",
        "Column order_date of retail.fct_sales is VARCHAR: its name requires DATE",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "is_free::BOOLEAN AS",
        "is_free::VARCHAR AS",
        "Column is_free of retail.fct_sales is VARCHAR: its name requires BOOLEAN",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/fct_sales.sql",
        "customer_id::BIGINT AS",
        "customer_id::DOUBLE AS",
        "Column customer_id of retail.fct_sales is DOUBLE: its name requires BIGINT or VARCHAR",
    ),
    Fault(
        "explicitcolumntypes",
        "models/edtech/rpt_student_enrollments.sql",
        ")::BOOLEAN AS has_enrollment",
        ")::INT AS has_enrollment",
        "Column has_enrollment of edtech.rpt_student_enrollments is INT: its name requires BOOLEAN",
    ),
    Fault(
        "explicitcolumntypes",
        "models/retail/rpt_net_revenue_by_state.sql",
        "::INT AS order_count",
        "::DOUBLE AS order_count",
        "Column order_count of retail.rpt_net_revenue_by_state is DOUBLE: its name requires INT",
    ),
    Fault(
        "explicitcolumntypes",
        "models/ops/row_reconciliation.sql",
        "FULL JOIN validated_counts\n  ON loaded_counts.source_table = validated_counts.source_table\n"
        "  AND loaded_counts.updated_date IS NOT DISTINCT FROM validated_counts.updated_date",
        "FULL JOIN validated_counts\n  ON loaded_counts.source_table = validated_counts.source_table\n"
        "UNION ALL\nSELECT 'none'::VARCHAR, CURRENT_DATE AS updated_date, 0::INT, 0::INT, 0::INT, 0::INT, 0::INT",
        "Column updated_date of ops.row_reconciliation is not cast: write (…)::DATE AS updated_date",
    ),
    Fault(
        "dialectportability",
        "audits/max_deletion_rate.sql",
        "DATEADD(DAY, -7, MAX(_loaded_at))::TIMESTAMPNTZ",
        "DATEADD(DAY, -7, MAX(_loaded_at))",
        "staging.stg_edtech__students has the audit max_deletion_rate, which uses DATEADD, which of a DATE",
    ),
    Fault(
        "dialectportability",
        "models/retail/dim_customer.sql",
        "relationships(",
        "not_null(columns := city, condition := SOUNDEX(city) = 'X'),\n    relationships(",
        "retail.dim_customer has the audit not_null, which uses SOUNDEX, which is missing on DuckDB",
    ),
    Fault(
        "unknownfunctions",
        "models/retail/dim_product.sql",
        "product_name::VARCHAR AS",
        "REVERSE(product_name)::VARCHAR AS",
        "retail.dim_product uses REVERSE, which is not known to return the same on both engines: "
        "docs/guides/sql-for-two-engines.md describes how to check",
    ),
    Fault(
        "seedmatchesfile",
        "models/ops/ref_reject_reason.sql",
        "    source_table VARCHAR,\n",
        "    source_table VARCHAR,\n    severity INT,\n",
        "seeds/ops/ref_reject_reason.csv line 1, column severity: is missing",
    ),
    Fault(
        "seedmatchesfile",
        "models/shared/ref_course_level.sql",
        ",\n    course_level VARCHAR",
        "",
        "seeds/shared/ref_course_level.csv line 1, column course_level: is unknown",
    ),
    Fault(
        "seedmatchesfile",
        "models/raw/retail/sales.sql",
        "city VARCHAR,",
        "city BIGINT,",
        "seeds/retail/sales.csv line 2, column city: '",
    ),
    Fault(
        "noselectstar",
        "models/edtech/rpt_student_enrollment_running_total.sql",
        "  student_id::BIGINT AS student_id,",
        "  *, student_id::BIGINT AS student_id,",
        "Query should not contain SELECT *",
    ),
    Fault(
        "ambiguousorinvalidcolumn",
        "models/quarantine/retail_sales.sql",
        "  NOT reject_reasons IS NULL",
        "  NOT reject_reason IS NULL",
        "Column 'REJECT_REASON' could not be resolved",
    ),
    Fault(
        "nomissingexternalmodels",
        "models/staging/stg_edtech__students.sql",
        "FROM raw.edtech.students",
        "FROM raw.edtech.pupils",
        'Model \'"ANALYTICS"."STAGING"."STG_EDTECH__STUDENTS"\' depends on unregistered external model',
    ),
]

HEADER = """MODEL (
  name {name},
  kind FULL,
  {more}owner data_platform,
  cron @cadence,
  grain order_id,
  tags (trial),
  description 'One row per order.',
  audits (
    unique_combination_of_columns(columns := order_id)
  )
);
"""

# How the message of dialectportability about an expression begins; None for an expression that passes.
FUNCTIONS = {
    "CONCAT_WS('-', a, b)": "CONCAT_WS, which is NULL",
    "CURRENT_DATE": "CURRENT_DATE, which depends on the session's",
    "DATEADD(DAY, 1, day)": "DATEADD, which of a DATE is a TIMESTAMP on DuckDB: write DATEADD(…)::DATE",
    "DATEADD(DAY, 1, day)::DATE": None,
    "DATE_TRUNC('MONTH', day)": "DATE_TRUNC, which of a DATE is a TIMESTAMP on DuckDB",
    "(DATE_TRUNC('MONTH', day))::DATE": None,
    "day + INTERVAL '1 day'": "INTERVAL, which added to a DATE",
    "HASH(a)": "HASH, which returns other numbers on DuckDB: use MD5",
    "MONTHS_BETWEEN(day, day)": "MONTHS_BETWEEN, which loses the parentheses",
    "one / two": "/, which is a DOUBLE on DuckDB",
    "(one / two)::DECIMAL(18, 6)": None,
    "ordered_at >= '2026-11-01'::TIMESTAMPLTZ": "::TIMESTAMPLTZ, which is compared in the session's",
    "ordered_at >= '2026-11-01 00:00:00+00:00'::TIMESTAMPTZ": "::TIMESTAMPTZ, which is compared in the session's",
    "ordered_at >= '2026-11-01'::TIMESTAMPNTZ": None,
    "SOUNDEX(a)": "SOUNDEX, which is missing on DuckDB",
    "PARSE_JSON(a):b::VARCHAR": "GET_PATH, which keeps the quotes",
    "TO_CHAR(day, 'YYYY')": "TO_CHAR, which loses its format",
    "TO_CHAR(day::DATE, 'YYYY')": None,
    "FLOOR(one, 2)": "FLOOR, which with a scale is a DOUBLE on DuckDB",
    "FLOOR(one)": None,
    "EXTRACT(DOW FROM day)": "DATE_PART, which is alike only for parts that are in PORTABLE",
    "CONVERT_TIMEZONE('Europe/Berlin', ordered_at)": "CONVERT_TIMEZONE, which reads the session's time zone",
    "(SELECT LISTAGG(a, ',') FROM lines)": "LISTAGG, which of no values is '' on Snowflake and NULL on DuckDB",
    "REGEXP_SUBSTR(a, '[0-9]')": "REGEXP_SUBSTR, which without a match is NULL on Snowflake",
    "SHA2(a, 512)": "SHA2, which has 256 bits on DuckDB",
    "EQUAL_NULL(a, b)": "EQUAL_NULL, which loses the parentheses",
    "WEEKOFYEAR(day)": "WEEK, which depends on the session's week parameters",
    "REGEXP_REPLACE(TRANSLATE(a, 'é', 'e'), ' +', ' ')": None,
    "LEAST(one, two)": None,
    "LAG(a) OVER (ORDER BY order_id)": None,
    "REVERSE(a)": None,
    "SUM(IFF(one > 1, one, 0)) OVER (PARTITION BY a)": None,
    "CASE WHEN one > 1 AND NOT a IS NULL THEN 'x' ELSE LOWER(a) END": None,
}

# Each function that no model uses, with the value in Snowflake's documentation. DOCUMENTED has those that models use.
VALUES = {
    "GREATEST_IGNORE_NULLS(1, NULL, 3)": 3,
    "LEAST_IGNORE_NULLS(1, NULL, 3)": 1,
    "NVL(NULL, 1) = IFNULL(NULL, 1)": True,
    "EXISTS (SELECT NULL)": True,
    "ABS(-1.5)": Decimal("1.5"),
    "CEIL(-1.5)": -1,
    "CEIL(1.01::DECIMAL(9, 2))": 2,
    "FLOOR(-1.5)": -2,
    "FLOOR(7::INT)": 7,
    "(FLOOR(4.35 * 100) / 100)::DECIMAL(18, 2)": Decimal("4.35"),
    "SIGN(-0.5)": -1,
    "TRUNC(-1.57, 1)": Decimal("-1.5"),
    "TRUNCATE(1557, -2)": 1500,
    "ACOS(0.5)::DECIMAL(18, 6)": Decimal("1.047198"),
    "ASIN(0.5)::DECIMAL(18, 6)": Decimal("0.523599"),
    "ATAN(1)::DECIMAL(18, 6)": Decimal("0.785398"),
    "ATAN2(1, -1)::DECIMAL(18, 6)": Decimal("2.356194"),
    "COS(1)::DECIMAL(18, 6)": Decimal("0.540302"),
    "COSH(1)::DECIMAL(18, 6)": Decimal("1.543081"),
    "COT(1)::DECIMAL(18, 6)": Decimal("0.642093"),
    "DEGREES(PI())::DECIMAL(18, 6)": 180,
    "EXP(1)::DECIMAL(18, 6)": Decimal("2.718282"),
    "LN(EXP(2))::DECIMAL(18, 6)": 2,
    "LOG(2, 8)::DECIMAL(18, 6)": 3,
    "POWER(2, 0.5)::DECIMAL(18, 6)": Decimal("1.414214"),
    "SQUARE(-3)::DECIMAL(18, 6)": 9,
    "RADIANS(180)::DECIMAL(18, 6)": Decimal("3.141593"),
    "SIN(1)::DECIMAL(18, 6)": Decimal("0.841471"),
    "SINH(1)::DECIMAL(18, 6)": Decimal("1.175201"),
    "SQRT(2)::DECIMAL(18, 6)": Decimal("1.414214"),
    "TAN(1)::DECIMAL(18, 6)": Decimal("1.557408"),
    "TANH(1)::DECIMAL(18, 6)": Decimal("0.761594"),
    "POSITION('b' IN 'abcb')": 2,
    "CHARINDEX('b', 'abcb', 3)": 4,
    "POSITION('x', 'abc')": 0,
    "CHR(233)": "é",
    "CONCAT('a', 1, 'b')": "a1b",
    "CONCAT('a', NULL)": None,
    "CONTAINS('aBc', 'b')": False,
    "STARTSWITH('abc', 'ab')": True,
    "ENDSWITH('abc', 'bc')": True,
    "INITCAP('aNNA-maria o''neil')": "Anna-Maria O'neil",
    "LEFT('aé😀b', 3)": "aé😀",
    "LEFT('abc', -1)": "",
    "RIGHT('abc', 5)": "abc",
    "LENGTH('aé😀 ')": 4,
    "LPAD('7', 3, '0')": "007",
    "LPAD('abcd', 2, '0')": "ab",
    "RPAD('a', 3)": "a  ",
    "REPEAT('ab', 2)": "abab",
    "REPLACE('aBab', 'b', 'x')": "aBax",
    "REPLACE('abc', 'b')": "ac",
    "REPLACE('abc', 'b', NULL)": None,
    "RTRIM('abcc', 'c')": "ab",
    "LEFT(SHA1('a'), 8)": "86f7e437",
    "LENGTH(SHA2('a'))": 64,
    "NULLIF(REGEXP_SUBSTR('a1b2', '[0-9]', 1, 2), '')": "2",
    "NULLIF(REGEXP_SUBSTR('ab', '[0-9]'), '')": None,
    "SPLIT_PART('a--c', '-', 2)": "",
    "SPLIT_PART('a-b-c', '-', -1)": "c",
    "SPLIT_PART('a-b-c', '-', 0)": "a",
    "SPLIT_PART('a-b-c', '-', 4)": "",
    "SUBSTR('aé😀b', 3, 1)": "😀",
    "SUBSTR('abcdef', -2)": "ef",
    "SUBSTR('abcdef', 0, 2)": "ab",
    "SUBSTR('abcdef', 2, -1)": "",
    "SUBSTR(NULL, 1)": None,
    "UNICODE('é')": 233,
    "UPPER('àb')": "ÀB",
    "DAYOFMONTH('2026-11-01'::DATE)": 1,
    "DAYOFYEAR('2026-11-01'::DATE)": 305,
    "HOUR('2026-11-01 10:20:05.9'::TIMESTAMPNTZ)": 10,
    "MINUTE('2026-11-01 10:20:05.9'::TIMESTAMPNTZ)": 20,
    "SECOND('2026-11-01 10:20:05.9'::TIMESTAMPNTZ)": 5,
    "WEEKISO('2027-01-01'::DATE)": 53,
    "YEAROFWEEKISO('2027-01-01'::DATE)": 2026,
    "EXTRACT(YEAR FROM '2026-11-01'::DATE)": 2026,
    "DATE_PART('weekiso', '2027-01-01'::DATE)": 53,
    "DATE_FROM_PARTS(2026, 13, 0)": date(2026, 12, 31),
    "DAYNAME('2026-11-01'::DATE)": "Sun",
    "MONTHNAME('2026-11-01'::DATE)": "Nov",
    "LAST_DAY('2028-02-05 10:00:00'::TIMESTAMPNTZ)": date(2028, 2, 29),
    "LAST_DAY('2028-02-05'::DATE, 'YEAR')": date(2028, 12, 31),
    "NEXT_DAY('2026-11-01'::DATE, 'Sunday')": date(2026, 11, 8),
    "PREVIOUS_DAY('2026-11-01'::DATE, 'su')": date(2026, 10, 25),
    "ADD_MONTHS('2026-02-28'::DATE, 1)::DATE": date(2026, 3, 31),
    "CONVERT_TIMEZONE('UTC', 'Europe/Berlin', '2026-07-01 10:00:00'::TIMESTAMPNTZ)": datetime(2026, 7, 1, 12),
    "TO_CHAR('2026-11-01'::DATE, 'YYYY-MM')": "2026-11",
    "(SELECT AVG(x)::DECIMAL(18, 6) FROM (VALUES (1), (2), (2), (NULL)) AS v (x))": Decimal("1.666667"),
    "(SELECT AVG(x)::DECIMAL(18, 6)::DECIMAL(18, 2) FROM (VALUES (1.00), (1.01)) AS v (x))": Decimal("1.01"),
    "(SELECT AVG(x) FROM (VALUES (1)) AS v (x) WHERE x > 1)": None,
    "(SELECT MEDIAN(x) FROM (VALUES (1), (3), (5), (20), (NULL)) AS v (x))": 4,
    "(SELECT MEDIAN(x::DECIMAL(18, 4))::DECIMAL(18, 2) FROM (VALUES (1.25), (2.10)) AS v (x))": Decimal("1.68"),
    "(SELECT PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY x) FROM (VALUES (10), (20), (25), (30)) AS v (x))": 17.5,
    "(SELECT PERCENTILE_DISC(0.25) WITHIN GROUP (ORDER BY x DESC) FROM (VALUES (1), (2), (3), (4)) AS v (x))": 4,
    "(SELECT VARIANCE(x)::DECIMAL(18, 6) FROM (VALUES (1), (-1), (1), (-1), (-1)) AS v (x))": Decimal("1.2"),
    "(SELECT VAR_SAMP(x) FROM (VALUES (42)) AS v (x))": None,
    "(SELECT VAR_POP(x)::DECIMAL(18, 6) FROM (VALUES (1), (2), (NULL)) AS v (x))": Decimal("0.25"),
    "(SELECT STDDEV(x)::DECIMAL(18, 6) FROM (VALUES (1), (2), (NULL)) AS v (x))": Decimal("0.707107"),
    "(SELECT STDDEV_POP(x)::DECIMAL(18, 6) FROM (VALUES (1), (2), (NULL)) AS v (x))": Decimal("0.5"),
    "(SELECT CORR(x, y)::DECIMAL(18, 6) FROM (VALUES (1, 2), (2, 4), (3, 6)) AS v (x, y))": 1,
    "(SELECT COVAR_POP(x, y)::DECIMAL(18, 6) FROM (VALUES (1, 2), (2, 4)) AS v (x, y))": Decimal("0.5"),
    "(SELECT COVAR_SAMP(x, y)::DECIMAL(18, 6) FROM (VALUES (1, 2), (2, 4)) AS v (x, y))": 1,
    "(SELECT BOOLAND_AGG(x) FROM (VALUES (TRUE), (NULL)) AS v (x))": True,
    "(SELECT BOOLOR_AGG(x) FROM (VALUES (NULL)) AS v (x))": None,
    "(SELECT MIN_BY(x, y) FROM (VALUES ('a', 2), ('b', 1), ('c', NULL)) AS v (x, y))": "b",
    "(SELECT COALESCE(LISTAGG(x, ',') WITHIN GROUP (ORDER BY x), '') FROM (VALUES ('b'), ('a')) AS v (x))": "a,b",
    "(SELECT COALESCE(LISTAGG(x, ',') WITHIN GROUP (ORDER BY x), '') FROM (VALUES ('b')) AS v (x) WHERE x = 'c')": "",
    "(SELECT SUM(g) FROM (SELECT GROUPING(x) + GROUPING_ID(x) AS g FROM (VALUES (1)) AS v (x) GROUP BY ROLLUP (x)))": 2,
    "(SELECT MAX(n) FROM (SELECT RANK() OVER (ORDER BY x) AS n FROM (VALUES (1), (1), (2)) AS v (x)))": 3,
    "(SELECT MAX(n) FROM (SELECT DENSE_RANK() OVER (ORDER BY x) AS n FROM (VALUES (1), (1), (2)) AS v (x)))": 2,
    "(SELECT SUM(n) FROM (SELECT PERCENT_RANK() OVER (ORDER BY x) AS n FROM (VALUES (1), (2), (3)) AS v (x)))": 1.5,
    "(SELECT MIN(n) FROM (SELECT CUME_DIST() OVER (ORDER BY x) AS n FROM (VALUES (1), (1), (2), (3)) AS v (x)))": 0.5,
    "(SELECT SUM(n) FROM (SELECT NTILE(2) OVER (ORDER BY x) AS n FROM (VALUES (1), (2), (3)) AS v (x)))": 4,
    "(SELECT MIN(y) FROM (SELECT LAST_VALUE(x) OVER (ORDER BY x) AS y FROM (VALUES (1), (2)) AS v (x)))": 2,
    "(SELECT COUNT(y) FROM (SELECT NTH_VALUE(x, 2) OVER (ORDER BY x) AS y FROM (VALUES (1), (2)) AS v (x)))": 2,
}  # fmt: skip

# Expressions with the value on DuckDB, and the value in Snowflake's documentation. The linter rejects all but AVG and
# MEDIAN, which the guide describes. An entry of PORTABLE_IF or DIFFERENT can go when its expression fails here.
DIFFERENT_VALUES = {
    "(SELECT AVG(x) FROM (VALUES (1), (2), (2)) AS v (x))": (1.6666666666666667, Decimal("1.666667")),
    "(SELECT AVG(x)::DECIMAL(18, 2) FROM (VALUES (1.00), (1.01)) AS v (x))": (Decimal("1.00"), Decimal("1.01")),
    "(SELECT MEDIAN(x) FROM (VALUES (1.25), (2.10)) AS v (x))": (Decimal("1.67"), Decimal("1.675")),
    "CEIL(1.1, 2)": (1.11, Decimal("1.1")),
    "FLOOR(4.35, 2)": (4.34, Decimal("4.35")),
    "EQUAL_NULL(1, NULL) = FALSE": (False, True),
    "(SELECT LISTAGG(x) FROM (VALUES ('a')) AS v (x) WHERE x = 'b')": (None, ""),
    "REGEXP_SUBSTR('ab', '[0-9]')": ("", None),
    "LENGTH(SHA2('a', 512))": (64, 128),
    "TIME_SLICE('1970-01-01'::DATE, 2, 'DAY')": (date(1969, 12, 31), date(1970, 1, 1)),
}


def function_model(number: int) -> str:
    return f"intermediate.int_retail__function_{number}"


@pytest.fixture(scope="module")
def lint(tmp_path_factory: pytest.TempPathFactory, built: Workspace) -> list[AnnotatedRuleViolation]:
    """The messages of `sqlmesh lint` for a project with all of the faults."""
    workspace = built.clone(tmp_path_factory.mktemp("faulty"), data=False)
    for fault in FAULTS:
        path = workspace.path / fault.file
        text = path.read_text(encoding="utf-8")
        assert fault.old in text, f"{fault.file} doesn't contain {fault.old!r}"
        path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    (workspace.path / "tests/models/shared/test_dim_date.yaml").unlink()

    def add(name: str, query: str, more: str = "") -> None:
        path = (workspace.path / "models").joinpath(*name.split(".")).with_suffix(".sql")
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEADER.format(name=name, more=more) + query, encoding="utf-8")

    add("sandbox.trial", "SELECT order_id FROM retail.fct_sales")
    add("intermediate.int_retail__foreign", "SELECT 7 // 2 AS order_id", more="dialect duckdb,\n  ")
    for number, sql in enumerate(FUNCTIONS):
        add(
            function_model(number),
            f"SELECT order_id, {sql} AS value FROM (SELECT order_id, city AS a, city AS b, order_date AS day, "
            "quantity AS one, quantity AS two, ordered_at FROM intermediate.int_retail__sales_validated) AS lines",
        )
    columns = ", ".join(f"{sql} AS value_{number}" for number, sql in enumerate(VALUES))
    add("intermediate.int_retail__portable", f"SELECT 1 AS order_id, {columns}")
    return workspace.context().lint_models(raise_on_error=False)


def rules_in(file: Path) -> ModuleType:
    """A module of the linter, imported as SQLMesh does."""
    project = file.parents[1]
    with sys_path(project):
        return import_python_file(file, project)


@pytest.fixture(scope="module")
def seeds(project: Path) -> ModuleType:
    return rules_in(project / "linter/seeds.py")


@pytest.fixture(scope="module")
def portability(project: Path) -> ModuleType:
    return rules_in(project / "linter/portability.py")


def messages(lint: list[AnnotatedRuleViolation], rule: str) -> list[str]:
    return [violation.violation_msg for violation in lint if violation.rule.name == rule]


@pytest.mark.parametrize("gateway", ["local", "live"])
def test_the_project_passes_all_rules(gateway: str, built: Workspace, postgres: Server, tmp_path: Path) -> None:
    context = built.clone(tmp_path, new_state(postgres), data=False).context(gateway)
    assert context.lint_models(raise_on_error=False) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.rule}: {fault.message[:60]}")
def test_each_fault_is_reported_by_its_rule(fault: Fault, lint: list[AnnotatedRuleViolation]) -> None:
    reported = messages(lint, fault.rule)
    assert any(message.startswith(fault.message) for message in reported), reported


def test_every_fault_but_an_unknown_function_is_an_error(lint: list[AnnotatedRuleViolation]) -> None:
    types = {(violation.violation_type, violation.rule.name) for violation in lint}
    assert {rule for type_, rule in types if type_ == "warning"} == {"unknownfunctions"}
    assert ("error", "unknownfunctions") not in types


def test_a_property_out_of_order_is_reported_with_its_line(lint: list[AnnotatedRuleViolation]) -> None:
    (location,) = [
        violation.violation_range
        for violation in lint
        if violation.violation_msg.startswith("edtech.fct_enrollment has `owner` after `cron`")
    ]
    assert location is not None
    assert location.start.line + 1 == 5


def test_a_model_without_a_unit_test_is_reported_with_the_expected_file(lint: list[AnnotatedRuleViolation]) -> None:
    assert "shared.dim_date has no unit test: write one in tests/models/shared/test_dim_date.yaml" in messages(
        lint, "hasunittest"
    )


def test_seeds_need_no_unit_test(lint: list[AnnotatedRuleViolation]) -> None:
    assert not [message for message in messages(lint, "hasunittest") if message.startswith(("raw.", "shared.ref_"))]


def test_a_schema_that_is_not_a_layer_is_rejected(lint: list[AnnotatedRuleViolation]) -> None:
    (message,) = [text for text in messages(lint, "layerdependencies") if text.startswith("sandbox.trial")]
    assert message.startswith("sandbox.trial is in schema sandbox, which is not a layer: use one of raw, staging,")


def test_a_model_in_another_dialect_is_rejected(lint: list[AnnotatedRuleViolation]) -> None:
    assert any(
        message.startswith("intermediate.int_retail__foreign has the dialect duckdb: write Snowflake's SQL")
        for message in messages(lint, "dialectportability")
    )


@pytest.mark.parametrize(("number", "sql"), list(enumerate(FUNCTIONS)), ids=list(FUNCTIONS))
def test_functions_that_differ_between_engines_are_rejected(
    number: int, sql: str, lint: list[AnnotatedRuleViolation]
) -> None:
    start = f"{function_model(number)} uses "
    reported = [message.removeprefix(start) for message in messages(lint, "dialectportability") if start in message]
    expected = FUNCTIONS[sql]
    if expected is None:
        assert reported == []
    else:
        assert any(message.startswith(expected) for message in reported), reported


def test_portable_functions_pass_without_a_warning(lint: list[AnnotatedRuleViolation]) -> None:
    reported = [*messages(lint, "dialectportability"), *messages(lint, "unknownfunctions")]
    assert [message for message in reported if message.startswith("intermediate.int_retail__portable ")] == []


@pytest.mark.parametrize("sql", VALUES)
def test_duckdb_returns_what_snowflake_documents_for_a_portable_function(sql: str) -> None:
    value = on_duckdb(sql)
    assert (value, isinstance(value, bool)) == (VALUES[sql], isinstance(VALUES[sql], bool))


@pytest.mark.parametrize("sql", DIFFERENT_VALUES)
def test_duckdb_returns_another_value_than_snowflake_documents(sql: str) -> None:
    duckdb_value, snowflake_value = DIFFERENT_VALUES[sql]
    assert duckdb_value != snowflake_value
    assert on_duckdb(sql) == duckdb_value


def on_duckdb(sql: str) -> object:
    """The value of an expression of Snowflake, in the SQL that SQLGlot writes for DuckDB."""
    (select,) = transpile(f"SELECT {sql}", read="snowflake", write="duckdb")
    (value,) = duckdb.sql(select).fetchone() or ()
    return value


def test_each_portable_function_has_a_documented_value(portability: ModuleType) -> None:
    selects = [parse_one(f"SELECT {sql}", dialect="snowflake") for sql in (*VALUES, *DOCUMENTED)]
    shown = {portability.function_name(node) for select in selects for node in select.walk()}
    assert portability.PORTABLE | set(portability.PORTABLE_IF) <= shown


def test_the_guide_of_the_warning_exists(portability: ModuleType, project: Path) -> None:
    assert (project / portability.GUIDE).is_file()


def test_a_seed_with_many_faults_lists_five_and_counts_the_rest(lint: list[AnnotatedRuleViolation]) -> None:
    about_sales = [text for text in messages(lint, "seedmatchesfile") if text.startswith("seeds/retail/sales.csv")]
    assert len(about_sales) == 6
    assert about_sales[5].endswith(" more faults like these")


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("INT", ["0", "-7", "2147483647", ""], ["abc", "1.0", "2147483648", " 1", "1_000", "NULL"]),
        ("BIGINT", ["9223372036854775807", "-9223372036854775808"], ["9223372036854775808", "1e3"]),
        ("DECIMAL(5, 2)", ["999.99", "-0.5", "1", "1.500"], ["1000", "0.001", "NaN", "1,5", "abc"]),
        ("DATE", ["2028-02-29"], ["2027-02-29", "2026-13-01", "20261101", "01/11/2026", "2026-11-01 00:00:00"]),
        (
            "TIMESTAMPNTZ",
            ["2026-11-01 09:30:00", "2026-11-01T09:30:00.123456"],
            ["2026-11-01", "2026-11-01 25:00:00", "2026-11-01 09:30:00+02:00"],
        ),
        ("BOOLEAN", ["true", "false"], ["yes", "1"]),
        ("VARCHAR", ["anything", "Søren"], []),
        ("VARIANT", [], ["{}"]),
    ],
)
def test_seed_values_have_the_declared_type(
    type_: str, good: list[str], bad: list[str], seeds: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "values.csv"
    lines = ["row_id,value", *(f'{line},"{value}"' for line, value in enumerate([*good, *bad], start=2))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = {"row_id": exp.DataType.build("INT"), "value": exp.DataType.build(type_, dialect="snowflake")}
    assert list(seeds.mismatched(path, columns)) == [
        f"line {line}, column value: '{value}' is not {'an' if type_ == 'INT' else 'a'} {type_}"
        for line, value in enumerate(bad, start=2 + len(good))
    ]


MALFORMED = {
    "empty": (b"", "line 1: the column names are missing"),
    "a name twice": (b"a,b,a\n1,2,3\n", "line 1, column a: the name occurs 2 times"),
    "a short line": (b"a,b,c\n1,2,3\n1\n", "line 3, column b: the line ends after 1 of 3 values"),
    "a long line": (b'a,b\n"1\n2",3\n4,5,6\n', "line 4, after column b: '6' is one value too many"),
    "a quote never closed": (b'a,b\n1,2\n3,"4\n5,6\n', "line 3: a quote is not closed, or is inside a value"),
    "a quote closed too late": (b'a,b\n1,"x\n2,"y"\n', "line 2: a quote is not closed, or is inside a value"),
    "Latin-1": ("a,b\n1,x\n2,Søren\n".encode("latin-1"), r"line 3: b'\xf8' is not UTF-8, save the file as UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_seed_is_reported_with_its_line(
    content: bytes, message: str, seeds: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "seed.csv"
    path.write_bytes(content)
    (fault,) = seeds.malformed(path)
    assert fault.startswith(message)


@pytest.mark.parametrize(
    ("type_", "accepted", "rejected"),
    [
        ("TIME", ["00:00:00", "23:59:59.123456"], ["24:00:00", "1:00:00", "noon"]),
        ("DOUBLE", ["1", "-.5", "6.02e23"], ["1,5", "NaN", "one"]),
        ("BINARY", [], ["00ff"]),
    ],
)
def test_a_seed_has_only_values_that_both_engines_read_alike(
    type_: str, accepted: list[str], rejected: list[str], seeds: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "seed.csv"
    path.write_text("a,b\n" + "".join(f'"{value}",\n' for value in accepted + rejected))
    columns = {"a": exp.DataType.build(type_, dialect="snowflake"), "b": exp.DataType.build(type_, dialect="snowflake")}
    assert len(list(seeds.mismatched(path, columns))) == len(rejected)


def test_blank_lines_and_multi_line_values_pass(seeds: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "seed.csv"
    path.write_bytes(b'a,b\r\n\r\n"one\ntwo",3\r\n\r\nx,4\r\n\r\n')
    assert list(seeds.malformed(path)) == []
    columns = {"a": exp.DataType.build("VARCHAR"), "b": exp.DataType.build("DATE")}
    assert list(seeds.mismatched(path, columns)) == [
        "line 3, column b: '3' is not a DATE",
        "line 6, column b: '4' is not a DATE",
    ]


@pytest.fixture
def one_seed(project: Path, tmp_path: Path) -> Path:
    """A project of one seed, with the real configuration and rules."""
    for part in ("config.yaml", "models/shared/ref_course_level.sql", "seeds/shared/ref_course_level.csv"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / part, tmp_path / part)
    for part in ("audits", "linter"):
        shutil.copytree(project / part, tmp_path / part)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3,3,Beginner", "3,three,Beginner", "line 3, column credits_to: 'three' is not an INT"),
        ("credits_to,", "upper_credits,", "line 1, column credits_to: is missing"),
        ("3,3,Beginner", "3,3,Beginner,,", "line 3, after column course_level: ',' is one value too many"),
    ],
    ids=["a wrong value", "a missing column", "a long line"],
)
def test_a_plan_with_a_faulty_seed_fails_and_builds_nothing(
    old: str, new: str, message: str, one_seed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = one_seed / "seeds/shared/ref_course_level.csv"
    seed.write_text(seed.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    monkeypatch.setenv("MESHFLOW_DATA", str(one_seed / "data"))
    run = subprocess.run(
        [Path(sys.executable).with_name("sqlmesh"), "plan", "dev", "--auto-apply"],
        cwd=one_seed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert f"seeds/shared/ref_course_level.csv {message}" in " ".join(run.stdout.split())
    assert tables(one_seed / "data") == []


@pytest.mark.parametrize("command", [("lint",), ("plan", "dev", "--auto-apply")], ids=lambda command: command[0])
def test_an_unknown_function_is_shown_and_stops_nothing(
    command: tuple[str, ...], one_seed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = one_seed / "models/shared/ref_course_level.sql"
    audit = "not_null(columns := course_level, condition := REVERSE(course_level) <> '')"
    model.write_text(model.read_text(encoding="utf-8").replace("audits (", f"audits ({audit},"), encoding="utf-8")
    monkeypatch.setenv("MESHFLOW_DATA", str(one_seed / "data"))
    run = subprocess.run(
        [Path(sys.executable).with_name("sqlmesh"), *command],
        cwd=one_seed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "shared.ref_course_level has the audit not_null, which uses REVERSE" in " ".join(run.stdout.split())
    assert bool(tables(one_seed / "data")) == (command[0] == "plan")


def tables(data: Path) -> list[str]:
    """The tables in the databases, without SQLMesh's own."""
    found = []
    for database in data.glob("*.duckdb"):
        with duckdb.connect(str(database), read_only=True) as connection:
            found += connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema <> 'sqlmesh'"
            ).fetchall()
    return [name for (name,) in found]


def test_a_malformed_seed_is_reported_before_sqlmesh_parses_it(one_seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one_seed / "seeds/shared/ref_course_level.csv").write_text("", encoding="utf-8")
    monkeypatch.setenv("MESHFLOW_DATA", str(one_seed / "data"))
    with pytest.raises(ConfigError, match=r"^seeds/shared/ref_course_level.csv line 1: the column names"):
        Context(paths=str(one_seed))


def test_every_rule_in_the_linter_is_configured_and_has_a_test(project: Path) -> None:
    written = {
        member.name
        for file in (project / "linter").glob("*.py")
        for member in vars(rules_in(file)).values()
        if isinstance(member, type) and issubclass(member, Rule) and member is not Rule
    }
    linter = load_configs(None, Config, [project])[project].linter
    assert linter.enabled
    assert written
    assert written <= linter.rules | linter.warn_rules
    assert written <= {fault.rule for fault in FAULTS}
    assert linter.warn_rules == {"unknownfunctions"}
    assert not linter.ignored_rules
