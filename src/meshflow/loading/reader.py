"""The source's side of a load: who may load, what is new, and rows as Arrow batches, all from one snapshot."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import click
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.conninfo import make_conninfo

from meshflow.loading.contract import LOADED_AT, Column, Table
from meshflow.postgres import address, clear_errors, connect, reason, unreachable

LAG = timedelta(seconds=10)
"""How far a load reads back beyond what it has to: updated_at is the server's clock, which may be set back a little."""

SESSION = "-c timezone=UTC -c idle_in_transaction_session_timeout=0"
"""The session that keeps the snapshot idles in its transaction while the rows are read."""


RELATION = """(
    SELECT pg_class.oid FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname || '.' || relname = %s
)"""
"""A table by its name. Not to_regclass(), which fails, and ends the transaction of the snapshot, if the loader has no
right to the table's schema."""

FIRST_DAY = -2_440_588
"""PostgreSQL's first, 4714-11-24 BC, in days since 1970. Infinity, which no other database has, and what lies beyond
the years of Arrow, 294246, come in as days before it."""


class TableError(Exception):
    """Why one table can't be loaded now, while others can. The message is one line: what, where, what to do."""


class Reader:
    """The loader's sessions: one that holds lock and snapshot and asks questions, and one to read each table with."""

    def __init__(self, url: str, control: psycopg.Connection) -> None:
        self._url, self._control = url, control
        self._snapshot = ""

    @classmethod
    @contextmanager
    def open(cls, url: str) -> Iterator["Reader"]:
        """Connect as the loader. Raises click.ClickException if the server can't be reached, or is gone later."""
        name = f"meshflow on {socket.gethostname()}, process {os.getpid()}"
        url = make_conninfo(url, application_name=name, options=SESSION) if address(url) else url
        with clear_errors(url), closing(connect(url, autocommit=True)) as control:
            yield cls(url, control)

    def lock(self, destination: str) -> str | None:
        """Be the only load into `destination`, on whatever machine, while this reader is open; or learn who is."""
        key = f"meshflow load {destination}"
        taken = self._control.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [key]).fetchone()
        if taken and taken[0]:
            return None
        holder = self._control.execute(
            """
            SELECT application_name, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
            FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted
              AND (classid::bigint << 32) | objid::bigint = hashtextextended(%s, 0)
            """,
            [key],
        ).fetchone()
        return f"{holder[0]}, since {holder[1]} UTC" if holder else "a load that has just ended"

    def take_snapshot(self) -> datetime | None:
        """Fix the moment that all reading from here on sees, and return from where the next load has to read.

        None if that can't be told: of a prepared transaction, of a session hidden from meshflow.oldest_write().
        """
        try:
            oldest = self._control.execute("SELECT nullif(meshflow.oldest_write(), '-infinity')").fetchone()
        except psycopg.ProgrammingError as error:
            raise click.ClickException(
                f"PostgreSQL at {address(self._url)}: {reason(error)}. `meshflow source up` makes what a load needs"
            ) from None
        # After the oldest write was asked for: every row that this snapshot misses is newer.
        self._control.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = self._control.execute("SELECT pg_export_snapshot()").fetchone()
        self._snapshot = snapshot[0] if snapshot else ""
        return oldest[0] - LAG if oldest and oldest[0] else None

    def new_columns(self, table: Table) -> dict[str, str]:
        """The source's columns, with their types, that the contract doesn't have.

        Raises TableError if the table can't be loaded as the contract says.
        """
        rows = self._control.execute(
            f"""
            SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = {RELATION} AND attnum > 0 AND NOT attisdropped ORDER BY attnum
            """,  # noqa: S608 - a constant
            [str(table)],
        ).fetchall()
        found: dict[str, str] = dict(rows)
        if not found:
            raise TableError(f"{table}: the source has no such table; if it is gone, take it out of {table.file}")
        for column in table.read:
            if column.name not in found:
                raise TableError(
                    f"{table}: column {column.name} is gone from the source; have it put back, or take it out of "
                    f"{table.file} and of the models that read it"
                )
            if not column.accepts(found[column.name]):
                raise TableError(
                    f"{table}: column {column.name} is {found[column.name]} in the source, and not every value of "
                    f"that fits {column.type.sql('snowflake')} in {table.file}; change one of them"
                )
        self._require_key(table)
        known = {column.name for column in table.read}
        return {name: type_ for name, type_ in found.items() if name not in known}

    def _require_key(self, table: Table) -> None:
        unique = self._control.execute(
            f"""
            SELECT 1 FROM pg_index WHERE indrelid = {RELATION} AND indisunique AND indisvalid AND indpred IS NULL
              AND (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
                   WHERE attrelid = indrelid AND attnum = ANY (indkey)) = %s
            """,  # noqa: S608 - a constant
            [str(table), sorted(table.key)],
        ).fetchone()
        if not unique:
            raise TableError(
                f"{table}: no primary key or unique index on ({', '.join(table.key)}) in the source, without "
                f"which rows can't be merged by key; have it created, or correct the grain in {table.file}"
            )

    def rows(self, table: Table, since: datetime | None, loaded_at: datetime) -> Iterator[pa.RecordBatch]:
        """Rows of `table` written at or after `since`, or all, typed as the contract says and stamped `loaded_at`.

        Raises TableError for values that don't fit, click.ClickException if the server is gone.
        """
        columns = ", ".join(f'"{column.name}"' for column in table.read)
        newer = f"WHERE updated_at >= '{since.isoformat()}'" if since else ""
        stamp = pa.scalar(loaded_at.replace(tzinfo=None), pa.timestamp("us"))
        for batch in self.query(table, f"SELECT {columns} FROM {table} {newer}"):  # noqa: S608 - names from the contract
            typed = {column.name: _typed(table, column, batch.column(column.name)) for column in table.read}
            typed[LOADED_AT] = pa.repeat(stamp, batch.num_rows)
            yield pa.record_batch([typed[name] for name in table.arrow.names], schema=table.arrow)

    def query(self, table: Table, statement: str) -> Iterator[pa.RecordBatch]:
        """What `statement` about `table` gives at the moment of the snapshot.

        Raises TableError with the server's reason, click.ClickException if the server is gone.
        """
        try:
            with closing(adbc_driver_postgresql.dbapi.connect(self._url)) as connection, connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute(f"SET TRANSACTION SNAPSHOT '{self._snapshot}'")
                # Batches of 4 MB instead of 16: a tenth less memory in all, and no slower.
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": 4_000_000})
                cursor.execute(statement)
                yield from cursor.fetch_record_batch()
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            self.check()
            raise TableError(f"{table}: the source's rows can't be read: {reason(error)}") from None

    def check(self) -> None:
        """Raises click.ClickException if the session that holds the lock is gone, and with it the right to write."""
        try:
            self._control.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise unreachable(self._url, error) from None


def _typed(table: Table, column: Column, values: pa.Array) -> pa.Array:
    """The same values, exactly, in the contract's type: ADBC brings NUMERIC as text, timestamps with their zone."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    try:
        typed = values.cast(column.arrow)
    except pa.ArrowInvalid as error:
        raise TableError(
            f"{table}: column {column.name} holds a value that isn't a {column.type.sql('snowflake')}: {reason(error)}"
        ) from None
    if pa.types.is_temporal(typed.type) and (_first_day(typed) or 0) < FIRST_DAY:
        raise TableError(
            f"{table}: column {column.name} holds infinity, or a moment past the year 294246, which can't be loaded; "
            "have it corrected in the source"
        )
    return typed


def _first_day(moments: pa.Array) -> int | None:
    """The smallest, in days since 1970; None if there is none."""
    day: int | None = pc.min(moments.cast(pa.date32()).cast(pa.int32())).as_py()
    return day
