"""Is RAW what the sources hold? Counted and hashed on both sides at one moment, day by day, then key by key.

A load sees what `updated_at` shows it. Rows deleted for good, or written behind the trigger's back, show here. Days are
those of `updated_at`, UTC. Rows with `deleted_at` are counted apart and not hashed: a row that is marked as vanished
can't be in the source, and shall not differ for ever.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Protocol

import pyarrow as pa
from sqlglot import exp

from meshflow.loading.contract import LOADED_AT, Column, Table
from meshflow.loading.load import Reporter, Session, load_tables
from meshflow.loading.reader import TableError

TEXT = {
    "postgres": {
        exp.DType.DATE: "({0} - DATE '1970-01-01')::text",
        exp.DType.TIMESTAMPNTZ: "(EXTRACT(EPOCH FROM {0}) * 1000000)::bigint::text",
        exp.DType.DECIMAL: "{0}::{1}::text",
        exp.DType.BOOLEAN: "{0}::int::text",
    },
    "duckdb": {
        exp.DType.DATE: "DATE_DIFF('day', DATE '1970-01-01', {0})::TEXT",
        exp.DType.TIMESTAMPNTZ: "EPOCH_US({0})::TEXT",
        exp.DType.BOOLEAN: "{0}::INT::TEXT",
    },
    "snowflake": {
        exp.DType.DATE: "DATEDIFF(DAY, '1970-01-01'::DATE, {0})::TEXT",
        exp.DType.TIMESTAMPNTZ: "DATE_PART(EPOCH_MICROSECOND, {0})::TEXT",
        exp.DType.BOOLEAN: "{0}::INT::TEXT",
    },
}
"""How a value of a type is written so that it reads the same everywhere; values of other types are cast to text."""

HASH = {
    "postgres": "('x' || SUBSTR(MD5({0}), 1, 15))::bit(60)::bigint",
    "duckdb": "('0x' || SUBSTR(MD5({0}), 1, 15))::BIGINT",
    "snowflake": "TO_NUMBER(SUBSTR(MD5({0}), 1, 15), 'XXXXXXXXXXXXXXX')",
}
"""60 bits of a row's MD5 as a number. Their sum over a day doesn't depend on any order."""

DAY = {
    "postgres": "(updated_at AT TIME ZONE 'UTC')::date",
    "duckdb": "updated_at::DATE",
    "snowflake": "updated_at::DATE",
}

TOTALS = pa.schema(
    [("updated_date", pa.date32()), ("live", pa.int64()), ("deleted", pa.int64()), ("checksum", pa.string())]
)


@dataclass(frozen=True)
class Side:
    """What the source, or RAW, holds of a day: live rows, deleted rows, the sum of the live rows' hashes."""

    live: int = 0
    deleted: int = 0
    checksum: int = 0


@dataclass(frozen=True)
class Day:
    date: date
    source: Side
    raw: Side
    missing_in_raw: int = 0
    """Live rows of the source whose keys RAW hasn't, or has as deleted."""
    missing_in_source: int = 0
    """Live rows of RAW whose keys the source hasn't, or has as deleted."""

    @property
    def is_equal(self) -> bool:
        """Whether the live rows are the same."""
        return (self.source.live, self.source.checksum) == (self.raw.live, self.raw.checksum)


@dataclass(frozen=True)
class Reconciliation:
    """How a table compares, and the rows of RAW, as they stand there, that the source no longer has."""

    table: Table
    days: list[Day]
    missing_in_source: pa.Table

    @property
    def differing(self) -> list[Day]:
        return [day for day in self.days if not day.is_equal]


class ReconciliationReporter(Reporter, Protocol):
    def reconciled(self, result: Reconciliation, marked: int) -> None: ...


def reconcile_all(session: Session, reporter: ReconciliationReporter, *, repair: bool) -> bool:
    """Load what is new, compare all tables and record the outcome; with `repair`, mark vanished rows as deleted.

    Returns whether everything is equal, or is now. Raises click.ClickException if either end fails.
    """
    whole = load_tables(session, reporter)
    results = []
    for table in session.tables:
        try:
            result, marked = reconcile(session, table), 0
            if repair and (marked := result.missing_in_source.num_rows):
                mark_deleted(session, result)
                result = reconcile(session, table)
        except TableError as error:
            reporter.rejected(table, str(error))
            whole = False
            continue
        reporter.reconciled(result, marked)
        results.append(result)
    record(session, results)
    return whole and not any(result.differing for result in results)


def reconcile(session: Session, table: Table) -> Reconciliation:
    """Compare the source's rows, at the moment that the load before has read, with RAW's.

    Raises TableError if the source's can't be read, click.ClickException if either end fails.
    """
    dialect = session.destination.dialect
    source = _sides(_read(session, table, _totals(table, "postgres"), TOTALS))
    raw = _sides(session.destination.arrow(_totals(table, dialect)))
    days = [Day(day, source.get(day, Side()), raw.get(day, Side())) for day in sorted({*source, *raw})]
    differing = [day.date for day in days if not day.is_equal]
    if not differing:
        return Reconciliation(table, days, table.arrow.empty_table())

    key = list(table.key)
    keys = pa.schema([*(table.arrow.field(name) for name in key), ("updated_date", pa.date32())])
    here = _read(session, table, _live(table, "postgres", differing, key), keys)
    # Snowflake's names are in capitals, and its integers are decimals.
    rows = table.arrow.append(keys.field("updated_date"))
    there = session.destination.arrow(_live(table, dialect, differing, table.arrow.names))
    there = there.rename_columns(rows.names).cast(rows)
    missing_in_raw = here.join(there.select(key), key, join_type="left anti")
    missing_in_source = there.join(here.select(key), key, join_type="left anti")
    missing, gone = (Counter(rows.column("updated_date").to_pylist()) for rows in (missing_in_raw, missing_in_source))
    return Reconciliation(
        table,
        [replace(day, missing_in_raw=missing[day.date], missing_in_source=gone[day.date]) for day in days],
        missing_in_source.select(table.arrow.names),
    )


def record(session: Session, results: Iterable[Reconciliation]) -> None:
    """Append what was found to RAW.LOADER.RECONCILIATIONS, which ops.source_reconciliation reads."""
    rows = [
        {
            "source_table": str(result.table),
            "updated_date": day.date,
            "source_count": day.source.live,
            "raw_count": day.raw.live,
            "source_deleted_count": day.source.deleted,
            "raw_deleted_count": day.raw.deleted,
            "source_checksum": day.source.checksum,
            "raw_checksum": day.raw.checksum,
            "missing_in_raw_count": day.missing_in_raw,
            "missing_in_source_count": day.missing_in_source,
            "counted_at": session.started_at.replace(tzinfo=None),
        }
        for result in results
        for day in result.days
    ]
    reconciliations = session.load_log.reconciliations
    session.destination.write(reconciliations, [pa.RecordBatch.from_pylist(rows, reconciliations.arrow)], "append")


def mark_deleted(session: Session, result: Reconciliation) -> None:
    """Give the vanished rows a `deleted_at`, and load them again: to the warehouse they are soft deletes.

    Their stamp is the start of this load, whose interval SQLMesh processes only after a later one: nothing is missed.
    """
    start = pa.scalar(session.started_at.replace(tzinfo=None), pa.timestamp("us"))
    rows = result.missing_in_source
    for name in ("deleted_at", LOADED_AT):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.repeat(start, rows.num_rows))
    session.destination.write(result.table, rows.to_batches(), "merge")


def _read(session: Session, table: Table, statement: str, schema: pa.Schema) -> pa.Table:
    """What the source answers; without rows ADBC gives no batch."""
    batches = list(session.reader.query(table, statement))
    return pa.Table.from_batches(batches).cast(schema) if batches else schema.empty_table()


def _totals(table: Table, dialect: str) -> str:
    text = " || '|' || ".join(f"COALESCE({_text(column, dialect)}, '~')" for column in table.read)
    return f"""
        SELECT
          updated_date,
          CAST(SUM(CASE WHEN deleted_at IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS live,
          CAST(COUNT(deleted_at) AS BIGINT) AS deleted,
          CAST(SUM(CASE WHEN deleted_at IS NULL THEN row_hash ELSE 0 END) AS VARCHAR(40)) AS checksum
        FROM (
          SELECT {DAY[dialect]} AS updated_date, deleted_at, {HASH[dialect].format(text)} AS row_hash FROM {table}
        ) AS hashed
        GROUP BY updated_date
        """  # noqa: S608 - names from the contract


def _text(column: Column, dialect: str) -> str:
    name = f'"{column.name}"' if dialect == "postgres" else column.name
    template = TEXT[dialect].get(column.type.this, "CAST({0} AS VARCHAR)")
    return template.format(name, column.type.sql("postgres"))


def _live(table: Table, dialect: str, days: list[date], columns: list[str]) -> str:
    listed = ", ".join(f"'{day}'" for day in days)
    return (
        f"SELECT {', '.join(columns)}, {DAY[dialect]} AS updated_date FROM {table} "  # noqa: S608 - names from the contract
        f"WHERE deleted_at IS NULL AND {DAY[dialect]} IN ({listed})"
    )


def _sides(totals: pa.Table) -> dict[Any, Side]:
    names = {name: name.lower() for name in totals.column_names}
    rows = totals.rename_columns(names).to_pylist()
    return {row["updated_date"]: Side(row["live"], row["deleted"], int(row["checksum"])) for row in rows}
