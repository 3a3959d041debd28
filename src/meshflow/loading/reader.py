"""The source of a load: the lock, the schema, and rows as Arrow batches, all from one snapshot."""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import click
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from meshflow.loading.contract import DELETED_AT, LOADED_AT, Column, Table
from meshflow.postgres import address, clear_errors, connect, reason, unreachable

LAG = timedelta(seconds=10)
"""How far a load by updated_at reads back: the server's clock may be set back a little between two writes."""

SESSION_OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        "datestyle": "ISO",
        "extra_float_digits": "1",  # the shortest text that is exact
        "search_path": "pg_catalog",  # no object of another schema is used in place of the catalog's
        "row_security": "off",  # a policy that hides rows is an error
        "lock_timeout": "30s",  # a migration may hold a table for hours
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",  # this session idles while others read in its snapshot
    }.items()
)
"""Settings that a role or a database may preset otherwise."""

OLDEST_SERVER = 130_000

LOCK_NOT_AVAILABLE = "55P03"

TABLE_KINDS = ("r", "p")
"""In pg_class.relkind: a table, a partitioned table."""

PARTITIONS = """
WITH RECURSIVE tree AS (
    SELECT pg_class.oid FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = %s AND relname = %s
    UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid
)
"""
"""A table and its partitions, by oid."""

COMPARABLE_IDS = 2**31
"""Rows store the lower 32 bits of transaction ids. Two ids this far apart can't be told from two that are close."""

MAINTAIN_UPDATED_AT = (
    "BEGIN PERFORM pg_catalog.pg_current_xact_id(); NEW.updated_at := pg_catalog.clock_timestamp(); RETURN NEW; END"
)
"""The only body of a trigger function that is trusted to maintain updated_at. Its transaction has an id before it looks
at the clock: a transaction that began after another load's snapshot has written no earlier time."""

FIRST_DAY = -2_440_588
"""PostgreSQL's first date, 4714-11-24 BC, in days since 1970. ADBC returns infinity, and dates after Arrow's
last year, 294246, as earlier days."""


class TableError(Exception):
    """One table can't be loaded; others can. The message is one line: what, where, what to do."""


@dataclass(frozen=True)
class Snapshot:
    """What a load sees of the source."""

    source: str
    """Server, timeline and database. The ids of another one say nothing about this one."""
    xmin: int
    """The oldest transaction that was open: the snapshot misses rows of this one and of later ones only. 64 bits."""
    xmax: int
    """The id of the next transaction."""
    taken_at: datetime
    """By the source's clock, just before."""


@dataclass(frozen=True)
class Cursor:
    """The rows of a table that a load reads: written by transaction `xid` or later ones, or since `time`, or all."""

    xid: int | None = None
    time: datetime | None = None

    @property
    def condition(self) -> str:
        if self.time:
            return f"updated_at >= '{self.time.isoformat()}'"
        if self.xid:
            # By age, which is right when ids wrap around. Negative ages are those of rows frozen two billion
            # transactions ago.
            return f"age(xmin) BETWEEN 0 AND age('{self.xid}'::xid8::xid)"
        return "true"

    @property
    def name(self) -> str:
        return "updated_at" if self.time else "xmin" if self.xid else "all"

    def __str__(self) -> str:
        return f"{self.name} {self.time or self.xid or ''}".strip()


class Reader:
    """The loader's sessions: a control session for lock, snapshot and metadata, and one session per table to read."""

    def __init__(self, url: str, control: psycopg.Connection) -> None:
        self._url, self._control = url, control
        self._exported = ""
        self._files: dict[Table, str] = {}

    @classmethod
    @contextmanager
    def open(cls, url: str) -> Iterator["Reader"]:
        """Connect as the loader. Raises click.ClickException if the server can't be reached or disconnects."""
        name = f"meshflow on {socket.gethostname()}, process {os.getpid()}"
        options = f"{conninfo_to_dict(url).get('options', '')} {SESSION_OPTIONS}" if address(url) else ""
        url = make_conninfo(url, application_name=name, options=options)
        with clear_errors(url), closing(connect(url, autocommit=True)) as control:
            yield cls(url, control)

    def lock(self, destination: str) -> str | None:
        """Lock `destination` against loads from any machine while this reader is open; or return the lock's holder."""
        key = f"meshflow load {destination}"
        acquired = self._control.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [key]).fetchone()
        if acquired and acquired[0]:
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

    def take_snapshot(self, tables: Iterable[Table]) -> Snapshot:
        """Export the snapshot in which `tables` are read.

        Raises click.ClickException if the server can't be loaded from.
        """
        if self._control.info.server_version < OLDEST_SERVER:
            raise self._refusal("is older than version 13")
        if self._one("SELECT pg_is_in_recovery()") == (True,):
            # Its snapshots don't show which transactions of the primary are still open.
            raise self._refusal("is a standby, where a load would lose rows; set MESHFLOW_LOADER_URL to the primary")
        source = self._one(
            """
            SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || pg_database.oid
            FROM pg_control_system(), pg_database WHERE datname = current_database()
            """
        )
        self._files = {table: _files(self._control, table) for table in tables}
        # Before the snapshot: what it misses of transactions without an id is written later.
        at = self._one("SELECT clock_timestamp()")
        self._control.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        exported, xmin, xmax = self._one(
            """
            SELECT
              pg_export_snapshot(), pg_snapshot_xmin(current)::text::bigint, pg_snapshot_xmax(current)::text::bigint
            FROM pg_current_snapshot() AS current
            """
        )
        self._exported = exported
        self.snapshot = Snapshot(source[0], xmin, xmax, at[0])
        return self.snapshot

    def _one(self, statement: str, *parameters: object) -> tuple[Any, ...]:
        return self._control.execute(statement.encode(), parameters or None).fetchone() or ()

    def _all(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._control.execute(statement.encode(), parameters or None).fetchall()

    def _refusal(self, why: str) -> click.ClickException:
        return click.ClickException(f"PostgreSQL at {address(self._url)} {why}")

    def cursor_name(self, table: Table) -> str:
        """The cursor that a load would use now."""
        return "updated_at" if self.maintains_updated_at(table, self.snapshot.xmin) else "xmin"

    def new_columns(self, table: Table) -> dict[str, str]:
        """Columns of the source that aren't in the contract, with their types.

        Raises TableError if the table can't be loaded with the contract's columns, types and key.
        """
        relation = self._relation(table)
        found: dict[str, str] = dict(
            self._all(
                """
                SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
                WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
                """,
                relation,
            )
        )
        for column in table.source_columns:
            if column.name not in found:
                raise TableError(
                    f"{table}: column {column.name} is gone from the source; restore it, or remove it from "
                    f"{table.file} and from the models that read it"
                )
            if not column.accepts(found[column.name]):
                raise TableError(
                    f"{table}: column {column.name} is {found[column.name]} in the source, which can have "
                    f"values that don't fit {column.type.sql('snowflake')} in {table.file}; change one of the types"
                )
        self._require_access(table, relation)
        self._require_key(table, relation)
        known = {column.name for column in table.source_columns}
        return {name: type_ for name, type_ in found.items() if name not in known}

    def _relation(self, table: Table) -> int:
        """The oid of `table`. Raises TableError if the source has no such table."""
        # Not to_regclass(): without a privilege on the schema it fails and ends the transaction of the snapshot.
        row = self._one(
            """
            SELECT pg_class.oid, relkind FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = %s AND relname = %s
            """,
            table.schema,
            table.name,
        )
        if not row:
            raise TableError(f"{table}: the source has no such table; if it was dropped, remove it from {table.file}")
        oid, kind = row
        if kind not in TABLE_KINDS:
            raise TableError(f"{table}: it isn't a table in the source; name the tables it reads in {table.file}")
        return int(oid)

    def _require_access(self, table: Table, relation: int) -> None:
        """Raises TableError if the loader's role may not read all rows and columns."""
        columns = [column.name for column in table.source_columns]
        may_use, may_select, is_filtered = self._one(
            """
            SELECT has_schema_privilege(relnamespace, 'USAGE'),
              (SELECT bool_and(has_column_privilege(pg_class.oid, attnum, 'SELECT'))
               FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = ANY (%s)),
              row_security_active(pg_class.oid)
            FROM pg_class WHERE oid = %s
            """,
            columns,
            relation,
        )
        role, schema = self._control.info.user, table.schema
        if not may_use:
            raise TableError(
                f"{table}: permission denied for schema {schema}; `GRANT USAGE ON SCHEMA {schema} TO {role}`"
            )
        if not may_select:
            raise TableError(f"{table}: permission denied for table; `GRANT SELECT ON {table} TO {role}`")
        if is_filtered:
            raise TableError(
                f"{table}: row-level security hides rows from the loader; `ALTER ROLE {role} BYPASSRLS`, "
                "or disable it for this table"
            )

    def _require_key(self, table: Table, relation: int) -> None:
        unique = self._one(
            """
            SELECT 1 FROM pg_index
            WHERE indrelid = %s AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
              -- Behind the key are the columns of INCLUDE.
              AND (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
                   WHERE attrelid = indrelid AND attnum = ANY ((indkey::int2[])[:indnkeyatts - 1])) = %s
            """,
            relation,
            sorted(table.key),
        )
        if not unique:
            raise TableError(
                f"{table}: no primary key or unique index on ({', '.join(table.key)}) in the source, and "
                f"a merge by key needs one; create it, or correct the grain in {table.file}"
            )
        nullable = self._all(
            """
            SELECT attname FROM pg_attribute
            WHERE attrelid = %s AND attname = ANY (%s) AND NOT attnotnull ORDER BY attnum
            """,
            relation,
            list(table.key),
        )
        if nullable:
            names = ", ".join(name for (name,) in nullable)
            raise TableError(
                f"{table}: {names} of the key may be NULL in the source, and a merge by key finds no such row; "
                f"`ALTER TABLE {table} ALTER {nullable[0][0]} SET NOT NULL`, or correct the grain in {table.file}"
            )

    def storage(self, table: Table) -> str:
        """What the rows of `table` are stored in: its partitions, and the columns by number, not by name.

        A table or column that took the place of another, or an attached partition, brings rows of old transactions.
        """
        columns = [column.name for column in table.source_columns]
        (parts,) = self._one(
            f"""
            {PARTITIONS}
            SELECT md5(concat_ws(
                ' ',
                (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM tree),
                (SELECT string_agg(concat_ws(':', attnum, atttypid, attname), ',' ORDER BY attnum)
                 FROM pg_attribute WHERE attrelid = %s AND attname = ANY (%s))
            ))
            """,  # noqa: S608 - a constant
            *(table.schema, table.name, self._relation(table), columns),
        )
        return str(parts)

    def require_same_files(self, table: Table) -> None:
        """Raises TableError if `table` has been rewritten since the snapshot.

        To an earlier snapshot, a table that ALTER TABLE has rewritten or TRUNCATE has emptied has no rows.
        """
        # By another session: one that is in a transaction may remember the files of before.
        with closing(connect(self._url, autocommit=True)) as connection:
            files = _files(connection, table)
        if files != self._files[table]:
            raise TableError(
                f"{table}: ALTER TABLE, TRUNCATE or VACUUM FULL has rewritten the table during the load; "
                "the next load reads it"
            )

    def maintains_updated_at(self, table: Table, since: int) -> bool:
        """Whether the database itself has set updated_at of every row written since transaction `since`.

        It needs an index to be worth it, and a trigger that fires always, last, and does nothing else.
        """
        row = self._one(
            r"""
            SELECT 1
            FROM pg_class
            JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'updated_at' AND attnotnull
              AND atttypid = 'timestamptz'::regtype
            JOIN LATERAL (
                SELECT * FROM pg_trigger
                WHERE tgrelid = pg_class.oid AND NOT tgisinternal AND tgtype & 3 = 3 AND tgtype & 20 <> 0
                ORDER BY tgname DESC LIMIT 1
            ) AS trigger ON tgtype & 20 = 20 AND tgenabled = 'A' AND tgqual IS NULL AND tgattr = ''
            JOIN pg_proc ON pg_proc.oid = tgfoid AND prosecdef = false AND proconfig IS NULL
              AND btrim(regexp_replace(prosrc, '\s+', ' ', 'g')) = %s
            JOIN pg_language ON pg_language.oid = prolang AND lanname = 'plpgsql'
            WHERE pg_class.oid = %s AND relkind = 'r' AND NOT relhassubclass
              AND age(trigger.xmin) > age(%s::text::xid8::xid) AND age(pg_proc.xmin) > age(%s::text::xid8::xid)
              AND EXISTS (
                SELECT 1 FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
                WHERE indrelid = attrelid AND indkey[0] = attnum AND indisvalid AND indpred IS NULL AND amname = 'btree'
              )
            """,
            MAINTAIN_UPDATED_AT,
            self._relation(table),
            since,
            since,
        )
        return bool(row)

    def rows(self, table: Table, cursor: Cursor, loaded_at: datetime) -> Iterator[pa.RecordBatch]:
        """The rows of `table` that `cursor` selects, in the contract's types and with `loaded_at`.

        Raises TableError for values that don't fit, click.ClickException if the server closed the connection.
        """
        loaded = pa.scalar(loaded_at.replace(tzinfo=None), pa.timestamp("us"))
        for batch in self._typed_rows(table, table.source_columns, cursor.condition):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            columns[LOADED_AT] = pa.repeat(loaded, batch.num_rows)
            columns[DELETED_AT] = pa.nulls(batch.num_rows, pa.timestamp("us"))
            yield pa.record_batch([columns[name] for name in table.arrow.names], schema=table.arrow)

    def keys(self, table: Table) -> pa.Table:
        """The keys of all rows of `table`. Raises as `rows` does."""
        columns = [column for column in table.source_columns if column.name in table.key]
        schema = pa.schema([(column.name, column.arrow) for column in columns])
        return pa.Table.from_batches(self._typed_rows(table, columns, "true"), schema)

    def count(self, table: Table) -> int:
        """The number of rows of `table`. Raises as `rows` does."""
        [batch] = self.query(table, f"SELECT count(*) FROM {table}")  # noqa: S608 - a name from the contract
        return int(batch.column(0)[0].as_py())

    def _typed_rows(self, table: Table, columns: Iterable[Column], condition: str) -> Iterator[pa.RecordBatch]:
        names = ", ".join(f'"{column.name}"' for column in columns)
        statement = f"SELECT {names} FROM {table} WHERE {condition}"  # noqa: S608 - names from the contract
        for batch in self.query(table, statement):
            yield pa.record_batch({column.name: _typed(table, column, batch.column(column.name)) for column in columns})

    def query(self, table: Table, statement: str) -> Iterator[pa.RecordBatch]:
        """The result of `statement` on `table` in the snapshot.

        Raises TableError with the server's message, click.ClickException if the server closed the connection.
        """
        try:
            with closing(adbc_driver_postgresql.dbapi.connect(self._url)) as connection, connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute(f"SET TRANSACTION SNAPSHOT '{self._exported}'")
                # Batches of 4 MB instead of 16 MB take 10 % less memory in total and are as fast.
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": 4_000_000})
                cursor.execute(statement)
                yield from cursor.fetch_record_batch()
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            self.check()
            is_locked = str(getattr(error, "sqlstate", "")) == LOCK_NOT_AVAILABLE
            cause = "another session, such as a migration, has locked the table" if is_locked else reason(error)
            raise TableError(f"{table}: the source's rows can't be read: {cause}") from None

    def check(self) -> None:
        """Raises click.ClickException if the control session, and with it the lock, is lost."""
        try:
            self._control.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise unreachable(self._url, error) from None


def _files(connection: psycopg.Connection, table: Table) -> str:
    """The files of `table` and its partitions at this time."""
    statement = f"{PARTITIONS} SELECT string_agg(pg_relation_filenode(oid)::text, ',' ORDER BY oid) FROM tree"  # noqa: S608
    return str(connection.execute(statement.encode(), (table.schema, table.name)).fetchone())


def _typed(table: Table, column: Column, values: pa.Array) -> pa.Array:
    """The same values in the contract's type, exactly. ADBC returns NUMERIC as text, and timestamps with a zone."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    try:
        typed = values.cast(column.arrow)
    except pa.ArrowInvalid as error:
        raise TableError(
            f"{table}: column {column.name} contains a value that isn't a {column.type.sql('snowflake')}: "
            f"{reason(error)}"
        ) from None
    if pa.types.is_temporal(typed.type) and (_first_day(typed) or 0) < FIRST_DAY:
        raise TableError(
            f"{table}: column {column.name} contains infinity or a date after the year 294246, which can't be "
            "loaded; correct it in the source"
        )
    return typed


def _first_day(times: pa.Array) -> int | None:
    """The earliest day, in days since 1970; None if all are NULL."""
    day: int | None = pc.min(times.cast(pa.date32()).cast(pa.int32())).as_py()
    return day
