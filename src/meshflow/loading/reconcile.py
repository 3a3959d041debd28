"""Reconciliation of RAW with the sources: counts and hashes by day, then keys of the days that differ, in one snapshot.

It compares what loads don't: all values, and the keys of very large tables. Days are the UTC dates of `updated_at`.
Soft-deleted rows are counted separately and not hashed.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Protocol

import pyarrow as pa
from sqlglot import exp

from meshflow.loading.contract import DELETED_AT, Column, Table
from meshflow.loading.deletions import Deletions, mark
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
"""Expressions by type that produce the same text on every engine; values of other types are cast to text."""

BYTES = {"postgres": "OCTET_LENGTH({0})", "duckdb": "STRLEN({0})", "snowflake": "OCTET_LENGTH({0})"}
"""The length of a text in bytes. Each value is preceded by its own, so that no two rows have the same text."""

HASH = {
    "postgres": "('x' || SUBSTR(MD5({0}), 1, 15))::bit(60)::bigint",
    "duckdb": "('0x' || SUBSTR(MD5({0}), 1, 15))::BIGINT",
    "snowflake": "TO_NUMBER(SUBSTR(MD5({0}), 1, 15), 'XXXXXXXXXXXXXXX')",
}
"""60 bits of a row's MD5 as a number. Their sum over a day doesn't depend on the order of rows."""

DAY = {
    "postgres": "(updated_at AT TIME ZONE 'UTC')::date",
    "duckdb": "updated_at::DATE",
    "snowflake": "updated_at::DATE",
}

TOTALS = pa.schema(
    [("updated_date", pa.date32()), ("active", pa.int64()), ("deleted", pa.int64()), ("checksum", pa.string())]
)

IN_RAW = f"deleted_at IS NULL AND {DELETED_AT} IS NULL"
IS_ACTIVE = {"postgres": "deleted_at IS NULL", "duckdb": IN_RAW, "snowflake": IN_RAW}


@dataclass(frozen=True)
class DayTotals:
    """A day's rows in the source or in RAW: active rows, soft-deleted rows, sum of the hashes of active rows."""

    active: int = 0
    deleted: int = 0
    checksum: int = 0


@dataclass(frozen=True)
class Day:
    date: date
    source: DayTotals
    raw: DayTotals
    missing_in_raw: int = 0
    """Active rows of the source whose keys are missing or soft-deleted in RAW."""
    missing_in_source: int = 0
    """Active rows of RAW whose keys are missing or soft-deleted in the source."""

    @property
    def is_equal(self) -> bool:
        """Whether the active rows are the same."""
        return (self.source.active, self.source.checksum) == (self.raw.active, self.raw.checksum)


@dataclass(frozen=True)
class Reconciliation:
    """The result for one table; `missing_in_source` contains keys of RAW."""

    table: Table
    days: list[Day]
    missing_in_source: pa.Table

    @property
    def differing(self) -> list[Day]:
        return [day for day in self.days if not day.is_equal]


class ReconciliationReporter(Reporter, Protocol):
    def reconciled(self, result: Reconciliation, marked: int) -> None: ...


def reconcile_all(session: Session, reporter: ReconciliationReporter, *, repair: bool) -> bool:
    """Load new rows, compare all tables and record the results. `repair` marks rows missing in the source as deleted.

    Returns whether all tables are loaded and equal, after the repair. Raises click.ClickException if the source or the
    destination fails.
    """
    complete = load_tables(session, reporter)
    results = []
    for table in session.load_log.finished.copy():
        try:
            result, marked = reconcile(session, table), 0
            if repair and (marked := result.missing_in_source.num_rows):
                mark_missing(session, result)
                result = reconcile(session, table)
        except TableError as error:
            reporter.rejected(table, str(error))
            complete = False
            continue
        reporter.reconciled(result, marked)
        results.append(result)
    record(session, results)
    return complete and not any(result.differing for result in results)


def reconcile(session: Session, table: Table) -> Reconciliation:
    """Compare the rows of the source, in the snapshot of the preceding load, with RAW.

    Raises TableError if the source table can't be read, click.ClickException if the source or the destination fails.
    """
    dialect = session.destination.dialect
    source = _totals_by_day(_read(session, table, _totals_query(table, "postgres"), TOTALS))
    raw = _totals_by_day(session.destination.arrow(_totals_query(table, dialect)))
    session.reader.require_same_files(table)
    days = [Day(day, source.get(day, DayTotals()), raw.get(day, DayTotals())) for day in sorted({*source, *raw})]
    differing = [day.date for day in days if not day.is_equal]
    if not differing:
        return Reconciliation(table, days, table.arrow.empty_table().select(table.key))

    key = list(table.key)
    keys = pa.schema([*(table.arrow.field(name) for name in key), ("updated_date", pa.date32())])
    source_keys = _read(session, table, _active_rows_query(table, "postgres", differing), keys)
    session.reader.require_same_files(table)
    # Snowflake returns upper-case names, and integers as decimals.
    raw_keys = session.destination.arrow(_active_rows_query(table, dialect, differing))
    raw_keys = raw_keys.rename_columns(keys.names).cast(keys)
    missing_in_raw = source_keys.join(raw_keys.select(key), key, join_type="left anti")
    missing_in_source = raw_keys.join(source_keys.select(key), key, join_type="left anti")
    in_raw, in_source = (
        Counter(rows.column("updated_date").to_pylist()) for rows in (missing_in_raw, missing_in_source)
    )
    return Reconciliation(
        table,
        [replace(day, missing_in_raw=in_raw[day.date], missing_in_source=in_source[day.date]) for day in days],
        missing_in_source.select(key),
    )


def record(session: Session, results: Iterable[Reconciliation]) -> None:
    """Append the results to RAW.LOADER.RECONCILIATIONS, which ops.source_reconciliation reads."""
    rows = [
        {
            "source_table": str(result.table),
            "updated_date": day.date,
            "source_count": day.source.active,
            "raw_count": day.raw.active,
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


def mark_missing(session: Session, result: Reconciliation) -> None:
    """Mark the rows that are missing in the source.

    The repair is a load of its own, which starts after the session's load. A row written by both is then a newer
    version, and SQLMesh processes the interval after a later load, so none is missed.
    """
    started_at = session.load_log.next_start(session.started_at)
    # It reads nothing of the source, so the next load starts where it would have started.
    load = replace(session.load_log.finished[result.table], started_at=started_at)
    session.load_log.begin(load)
    mark(session.destination, result.table, result.missing_in_source, started_at)
    session.load_log.finish(load, 0, Deletions(marked=result.missing_in_source.num_rows))


def _read(session: Session, table: Table, statement: str, schema: pa.Schema) -> pa.Table:
    """The result of `statement` in the source. ADBC returns no batch if it is empty."""
    batches = list(session.reader.query(table, statement))
    return pa.Table.from_batches(batches).cast(schema) if batches else schema.empty_table()


def _totals_query(table: Table, dialect: str) -> str:
    values = (_text(column, dialect) for column in table.source_columns)
    text = " || ".join(f"COALESCE({BYTES[dialect].format(value)} || ':' || {value}, '~')" for value in values)
    return f"""
        SELECT
          updated_date,
          CAST(SUM(CASE WHEN is_active THEN 1 ELSE 0 END) AS BIGINT) AS active,
          CAST(SUM(CASE WHEN is_active THEN 0 ELSE 1 END) AS BIGINT) AS deleted,
          CAST(SUM(CASE WHEN is_active THEN row_hash ELSE 0 END) AS VARCHAR(40)) AS checksum
        FROM (
          SELECT
            {DAY[dialect]} AS updated_date, {IS_ACTIVE[dialect]} AS is_active, {HASH[dialect].format(text)} AS row_hash
          FROM {table}
        ) AS hashed
        GROUP BY updated_date
        """  # noqa: S608 - names from the contract


def _text(column: Column, dialect: str) -> str:
    name = f'"{column.name}"' if dialect == "postgres" else column.name
    template = TEXT[dialect].get(column.type.this, "CAST({0} AS VARCHAR)")
    return template.format(name, column.type.sql("postgres"))


def _active_rows_query(table: Table, dialect: str, days: list[date]) -> str:
    dates = ", ".join(f"'{day}'" for day in days)
    return (
        f"SELECT {', '.join(table.key)}, {DAY[dialect]} AS updated_date FROM {table} "  # noqa: S608 - names from the contract
        f"WHERE {IS_ACTIVE[dialect]} AND {DAY[dialect]} IN ({dates})"
    )


def _totals_by_day(totals: pa.Table) -> dict[Any, DayTotals]:
    names = {name: name.lower() for name in totals.column_names}
    rows = totals.rename_columns(names).to_pylist()
    return {row["updated_date"]: DayTotals(row["active"], row["deleted"], int(row["checksum"])) for row in rows}
