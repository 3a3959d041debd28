"""Tables of a source: as PostgreSQL's catalog describes them, and the types that the contract gives their columns."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import click
import psycopg
from psycopg import sql
from sqlglot import exp

from meshflow.loading.contract import Table
from meshflow.postgres import FOREIGN, FOREIGN_ADVICE, IS_REQUIRED, identifier

TYPES = {
    "bigint": "BIGINT",
    "integer": "INT",
    "smallint": "INT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "time without time zone": "TIME",
    "timestamp with time zone": "TIMESTAMPNTZ",
    "timestamp without time zone": "TIMESTAMPNTZ",
    "real": "DOUBLE",
    "double precision": "DOUBLE",
    "bytea": "BINARY",
}
"""Types of the contract by PostgreSQL's, as format_type() prints them without a precision. All others are VARCHAR."""

MAX_PRECISION = 38
UNLIMITED_NUMERIC = "DECIMAL(38, 9)"

TABLE_KINDS = ("r", "p", "v", "m")
"""In pg_class.relkind: a table, a partitioned table, a view, a materialized view."""

COLUMNS = f"""
WITH RECURSIVE columns AS (
    SELECT attnum, attname, atttypid AS type, atttypmod AS modifier, {IS_REQUIRED} AS is_required
    FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT attnum, attname, typbasetype, typtypmod, is_required OR typnotnull
    FROM columns JOIN pg_type ON pg_type.oid = type WHERE typtype = 'd'
)
SELECT attname, format_type(type, modifier), is_required, col_description(%s, attnum)
FROM columns JOIN pg_type ON pg_type.oid = type WHERE typtype <> 'd' ORDER BY attnum
"""  # noqa: S608 - a constant
"""Columns with their types; domains are resolved to their base types."""

KEY = f"""
SELECT ARRAY(
    SELECT attname::text
    FROM generate_series(0, indnkeyatts - 1) AS position
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[position] ORDER BY position
)
FROM pg_index
WHERE indrelid = %s AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
  -- No key is unique in all tables that inherit from one.
  AND NOT EXISTS (SELECT 1 FROM pg_inherits JOIN pg_class ON pg_class.oid = inhparent
                  WHERE inhparent = indrelid AND relkind = 'r')
  -- Behind the key are the columns of INCLUDE.
  AND NOT EXISTS (
    SELECT 1 FROM pg_attribute
    WHERE attrelid = indrelid AND attnum = ANY ((indkey::int2[])[:indnkeyatts - 1]) AND NOT ({IS_REQUIRED})
  )
ORDER BY NOT indisprimary, indnkeyatts, indexrelid LIMIT 1
"""  # noqa: S608 - a constant
"""The primary key, or else the unique index with the fewest columns, all of them NOT NULL; none of a table from which
others inherit."""

NEWEST = "max(updated_at) FILTER (WHERE updated_at BETWEEN '0001-01-02' AND '9999-12-30')::timestamptz"
"""Between the first and the last day, which are in another year in other time zones."""


@dataclass(frozen=True)
class SourceColumn:
    name: str
    postgres_type: str
    """As format_type() prints it; of a domain, the base type."""
    is_required: bool
    comment: str | None = None

    @property
    def type(self) -> str:
        """The column's type in the contract, in Snowflake's dialect."""
        if decimal := re.fullmatch(r"numeric(?:\((\d+),(-?\d+)\))?", self.postgres_type):
            return _decimal(int(decimal[1]), int(decimal[2])) if decimal[1] else UNLIMITED_NUMERIC
        return TYPES.get(re.sub(r"\(\d+\)", "", self.postgres_type), "VARCHAR")


@dataclass(frozen=True)
class SourceTable:
    schema: str
    name: str
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...]
    """Empty if nothing in the source keeps a key unique and not NULL."""
    comment: str | None = None
    rows: int = 0
    """By the statistics of the server; 0 if it has none."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def tables_of(connection: psycopg.Connection, schema: str) -> list[str]:
    """The names of the tables of `schema`; partitions and views are left out. Raises click.ClickException if none."""
    names = connection.execute(
        """
        SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = %s AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname
        """,
        [schema],
    ).fetchall()
    if not names:
        raise click.ClickException(f"The source has no schema {schema} with tables")
    return [name for (name,) in names]


def describe(connection: psycopg.Connection, schema: str, name: str) -> SourceTable:
    """The table `name` of `schema`. Raises click.ClickException if it doesn't exist or the role may not read it."""
    found = connection.execute(
        """
        SELECT pg_class.oid, relkind, has_schema_privilege(relnamespace, 'USAGE'),
          (SELECT bool_and(has_column_privilege(attrelid, attnum, 'SELECT')) FROM pg_attribute
           WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped),
          obj_description(pg_class.oid, 'pg_class'),
          coalesce(
            (SELECT sum(greatest(part.reltuples, 0)) FROM pg_partition_tree(pg_class.oid)
             JOIN pg_class AS part ON part.oid = relid WHERE isleaf),
            greatest(pg_class.reltuples, 0)
          )::bigint
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = %s AND relname = %s
        """,
        [schema, name],
    ).fetchone()
    if found and found[1] == FOREIGN:
        raise click.ClickException(f"{schema}.{name}: {FOREIGN_ADVICE}")
    if not found or found[1] not in TABLE_KINDS:
        raise click.ClickException(f"The source has no table {schema}.{name}")
    oid, _, may_use, may_select, comment, rows = found
    role = connection.info.user
    if not may_use:
        raise click.ClickException(
            f"{schema}.{name}: permission denied for schema {schema}; "
            f"`GRANT USAGE ON SCHEMA {identifier(connection, schema)} TO {identifier(connection, role)}`"
        )
    if may_select is False:
        raise click.ClickException(
            f"{schema}.{name}: permission denied for table; "
            f"`GRANT SELECT ON {identifier(connection, schema, name)} TO {identifier(connection, role)}`"
        )
    columns = tuple(SourceColumn(*row) for row in connection.execute(COLUMNS, [oid, oid]))
    key = connection.execute(KEY, [oid]).fetchone()
    return SourceTable(schema, name, columns, tuple(key[0]) if key else (), comment, rows)


def table_counts(
    connection: psycopg.Connection, tables: Iterable[Table]
) -> list[tuple[str, int, int | None, datetime | None]]:
    """For each table: name, row count, count of soft-deleted rows, newest updated_at. None if it has no such column.

    An updated_at of which Python has no value, such as infinity, doesn't count.
    """
    counts = []
    for table in tables:
        times = {column.name for column in table.columns if column.type.this == exp.DType.TIMESTAMPNTZ}
        counts.append(
            sql.SQL("SELECT {}, count(*), {}, {} FROM {}").format(
                str(table),
                sql.SQL("count(deleted_at)" if "deleted_at" in times else "NULL::bigint"),
                sql.SQL(NEWEST if "updated_at" in times else "NULL::timestamptz"),
                sql.Identifier(table.schema, table.name),
            )
        )
    return connection.execute(sql.SQL(" UNION ALL ").join(counts)).fetchall()


def _decimal(precision: int, scale: int) -> str:
    # numeric(3,-2) has values up to 99900, numeric(2,4) values up to 0.0099.
    precision, scale = max(precision, scale, precision - scale), max(scale, 0)
    return f"DECIMAL({precision}, {scale})" if precision <= MAX_PRECISION else UNLIMITED_NUMERIC
