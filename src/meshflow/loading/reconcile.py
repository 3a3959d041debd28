"""Reconciliation of RAW with the sources: counts and hashes by day, then keys of the days that differ, in one snapshot.

It compares what loads don't: values of active rows, and the keys of very large tables. Days are the UTC dates of
`updated_at`; rows without one, and those of tables that don't record it, have the day NULL. Soft-deleted rows are
counted separately and not hashed. Rows with a value that doesn't fit the contract aren't counted: RAW can't have them.
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
from meshflow.loading.values import fitting

TEXT = {
    "postgres": {
        exp.DType.DATE: "({0} - DATE '1970-01-01')::text",
        # In two parts: PostgreSQL 13 returns a double, which has no microseconds in distant centuries.
        exp.DType.TIMESTAMPNTZ: "(EXTRACT(EPOCH FROM DATE_TRUNC('second', {0}))::bigint * 1000000 "
        "+ EXTRACT(MICROSECONDS FROM {0})::bigint % 1000000)::text",
        exp.DType.TIME: "(EXTRACT(EPOCH FROM {0}) * 1000000)::bigint::text",
        exp.DType.DECIMAL: "{0}::{1}::text",
        exp.DType.BOOLEAN: "{0}::int::text",
        exp.DType.BINARY: "UPPER(ENCODE({0}, 'hex'))",
    },
    "duckdb": {
        exp.DType.DATE: "DATE_DIFF('day', DATE '1970-01-01', {0})::TEXT",
        exp.DType.TIMESTAMPNTZ: "EPOCH_US({0})::TEXT",
        exp.DType.TIME: "EPOCH_US({0})::TEXT",
        exp.DType.DECIMAL: r"REGEXP_REPLACE({0}::TEXT, '^(-?)[.]', '\10.')",  # .50 is 0.50 elsewhere
        exp.DType.BOOLEAN: "{0}::INT::TEXT",
        exp.DType.BINARY: "HEX({0})",
    },
    "snowflake": {
        exp.DType.DATE: "DATEDIFF(DAY, '1970-01-01'::DATE, {0})::TEXT",
        exp.DType.TIMESTAMPNTZ: "DATE_PART(EPOCH_MICROSECOND, {0})::TEXT",
        exp.DType.TIME: "DATEDIFF(MICROSECOND, '00:00:00'::TIME, {0})::TEXT",
        exp.DType.BOOLEAN: "{0}::INT::TEXT",
        exp.DType.BINARY: "HEX_ENCODE({0})",
    },
}
"""Expressions by type that produce the same text on every engine; values of other types are cast to text."""

DOUBLE = (
    "CASE WHEN {0} IS NULL THEN NULL WHEN ABS({0}) < 1e15 THEN CONCAT("
    "CASE WHEN {0} < 0 THEN '-' ELSE '' END, FLOOR(ABS({0}))::BIGINT, '.', "
    "FLOOR((ABS({0}) - FLOOR(ABS({0}))) * 1e15)::BIGINT) ELSE 'large' END"
)
"""The text of a double, on every engine. Its steps are exact or rounded alike. It cuts digits after the 15th decimal,
and doesn't tell values from 1e15 on apart."""

BYTES = {"postgres": "OCTET_LENGTH(CONVERT_TO({0}, 'UTF8'))", "duckdb": "STRLEN({0})", "snowflake": "OCTET_LENGTH({0})"}
"""The length of a text in bytes. Each value is preceded by its own, so that no two rows have the same text."""

HASH = {
    "postgres": "('x' || SUBSTR(MD5(CONVERT_TO({0}, 'UTF8')), 1, 15))::bit(60)::bigint",
    "duckdb": "('0x' || SUBSTR(MD5({0}), 1, 15))::BIGINT",
    "snowflake": "TO_NUMBER(SUBSTR(MD5({0}), 1, 15), 'XXXXXXXXXXXXXXX')",
}
"""60 bits of a row's MD5 as a number. Their sum over a day doesn't depend on the order of rows."""

TOTALS = pa.schema(
    [("updated_date", pa.date32()), ("active", pa.int64()), ("deleted", pa.int64()), ("checksum", pa.string())]
)


@dataclass(frozen=True)
class DayTotals:
    """A day's rows in the source or in RAW: active rows, soft-deleted rows, sum of the hashes of active rows."""

    active: int = 0
    deleted: int = 0
    checksum: int = 0


@dataclass(frozen=True)
class Day:
    date: date | None
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
    in_source, in_raw = _Queries.source(session, table), _Queries.raw(session, table)
    source = _totals_by_day(_read(session, table, in_source.totals_query(), TOTALS))
    raw = _totals_by_day(session.destination.arrow(in_raw.totals_query()))
    dates = sorted({*source, *raw}, key=lambda day: (day is None, day))
    days = [Day(day, source.get(day, DayTotals()), raw.get(day, DayTotals())) for day in dates]
    differing = [day.date for day in days if not day.is_equal]
    if not differing or not table.key:
        return Reconciliation(table, days, table.arrow.empty_table().select(table.key))

    key, updated_at = list(table.key), table.time("updated_at")
    times = [updated_at.name] if updated_at else []
    source_keys = session.reader.keys(table, in_source.active_rows(differing), *times)
    # Snowflake returns upper-case names, and integers as decimals.
    raw_keys = session.destination.arrow(in_raw.keys_query(source_keys.column_names, differing))
    raw_keys = raw_keys.rename_columns(source_keys.column_names).cast(source_keys.schema)
    missing_in_raw = source_keys.join(raw_keys.select(key), key, join_type="left anti")
    missing_in_source = raw_keys.join(source_keys.select(key), key, join_type="left anti")
    only_in_source, only_in_raw = (
        Counter(rows.column(times[0]).cast(pa.date32()).to_pylist() if times else [None] * rows.num_rows)
        for rows in (missing_in_raw, missing_in_source)
    )
    return Reconciliation(
        table,
        [
            replace(day, missing_in_raw=only_in_source[day.date], missing_in_source=only_in_raw[day.date])
            for day in days
        ],
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
    session.load_log.begin([load])
    session.load_log.before_change(result.table)
    mark(session.reader, session.destination, result.table, result.missing_in_source, started_at)
    session.load_log.finish(load, 0, Deletions(marked=result.missing_in_source.num_rows))
    session.load_log.save()


def _read(session: Session, table: Table, statement: str, schema: pa.Schema) -> pa.Table:
    """The result of `statement` in the source. ADBC returns no batch if it is empty."""
    batches = list(session.reader.query(table, statement))
    return pa.Table.from_batches(batches).cast(schema) if batches else schema.empty_table()


@dataclass(frozen=True)
class _Queries:
    """The queries on the source or on RAW, in its dialect."""

    dialect: str
    table: Table
    name: str
    """The table in SQL."""
    values: dict[str, str]
    """SQL for the value of each column."""
    soft_delete: Column | None
    condition: str
    """Which rows both have, unless they differ."""

    @classmethod
    def source(cls, session: Session, table: Table) -> "_Queries":
        values = session.reader.values(table)
        soft_delete = session.reader.soft_delete(table)
        return cls("postgres", table, session.reader.quoted(table), values, soft_delete, fitting(table, values))

    @classmethod
    def raw(cls, session: Session, table: Table) -> "_Queries":
        quoted = session.destination.quoted
        values = {column.name: quoted(column.name) for column in table.source_columns}
        name, soft_delete = quoted(table.schema, table.name), session.reader.soft_delete(table)
        return cls(session.destination.dialect, table, name, values, soft_delete, f"{DELETED_AT} IS NULL")

    def totals_query(self) -> str:
        texts = (self._text(column) for column in self.table.source_columns)
        row = " || ".join(f"COALESCE({BYTES[self.dialect].format(text)} || ':' || {text}, '~')" for text in texts)
        return f"""
            SELECT
              updated_date,
              CAST(SUM(CASE WHEN is_active THEN 1 ELSE 0 END) AS BIGINT) AS active,
              CAST(SUM(CASE WHEN is_active THEN 0 ELSE 1 END) AS BIGINT) AS deleted,
              CAST(SUM(CASE WHEN is_active THEN row_hash ELSE 0 END) AS VARCHAR(40)) AS checksum
            FROM (
              SELECT
                {self._day} AS updated_date, {self._is_active} AS is_active,
                {HASH[self.dialect].format(row)} AS row_hash
              FROM {self.name} WHERE {self.condition}
            ) AS hashed
            GROUP BY updated_date
            """  # noqa: S608 - names from the contract

    def active_rows(self, days: list[date | None]) -> str:
        """The condition that selects the active rows of `days`."""
        dates = ", ".join(f"DATE '{day}'" for day in days if day) or "NULL"
        is_without_date = f" OR {self._day} IS NULL" if None in days else ""
        return f"{self.condition} AND {self._is_active} AND ({self._day} IN ({dates}){is_without_date})"

    def keys_query(self, columns: list[str], days: list[date | None]) -> str:
        values = ", ".join(self.values[name] for name in columns)
        return f"SELECT {values} FROM {self.name} WHERE {self.active_rows(days)}"  # noqa: S608 - names from the contract

    @property
    def _day(self) -> str:
        updated_at = self.table.time("updated_at")
        return f"CAST({self.values[updated_at.name] if updated_at else 'NULL'} AS DATE)"

    @property
    def _is_active(self) -> str:
        return f"({self.values[self.soft_delete.name]} IS NULL)" if self.soft_delete else "(1 = 1)"

    def _text(self, column: Column) -> str:
        kind, value = column.type.this, self.values[column.name]
        template = DOUBLE if kind == exp.DType.DOUBLE else TEXT[self.dialect].get(kind, "CAST({0} AS VARCHAR)")
        return template.format(value, column.type.sql("postgres"))


def _totals_by_day(totals: pa.Table) -> dict[Any, DayTotals]:
    names = {name: name.lower() for name in totals.column_names}
    rows = totals.rename_columns(names).to_pylist()
    return {row["updated_date"]: DayTotals(row["active"], row["deleted"], int(row["checksum"])) for row in rows}
