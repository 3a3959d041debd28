"""The source of a load: the lock, the schema, and rows as Arrow batches, all from one snapshot."""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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

from meshflow.loading.contract import Column, Table
from meshflow.loading.values import Unfit, convert, expression, fitting, key_texts, quoted
from meshflow.postgres import (
    FOREIGN,
    FOREIGN_ADVICE,
    IS_REQUIRED,
    POOLER_ADVICE,
    address,
    clear_errors,
    connect,
    identifier,
    reason,
    unreachable,
)

LAG = timedelta(seconds=10)
"""How far a load by updated_at reads back: the server's clock may be set back a little between two writes."""

SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",  # format_type would return "date" in quotes
    "extra_float_digits": "1",  # the shortest text that is exact
    "search_path": "pg_catalog",  # no object of another schema is used instead of the catalog's
    "row_security": "off",  # a policy that hides rows is an error
    "lock_timeout": "30s",  # a migration may hold a table for hours
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",  # this session idles while others read in its snapshot
}
"""Settings that a role or a database may preset otherwise."""
NEWER_SETTINGS = {140_000: "idle_session_timeout", 170_000: "transaction_timeout"}
"""Timeouts to be 0, by the first version that has them."""

OLDEST_SERVER = 130_000

LOCK_NOT_AVAILABLE = "55P03"

TREE = """
WITH RECURSIVE tree AS (
    SELECT pg_class.oid FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = %s AND relname = %s
    UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid
    -- Of a DETACH CONCURRENTLY that waits or was interrupted. Version 13 has no such column.
    WHERE (to_jsonb(pg_inherits) ->> 'inhdetachpending')::boolean IS NOT TRUE
)
"""
"""A table and its partitions, by oid."""

COMPARABLE_IDS = 2**31 - 2**24
"""Rows store the lower 32 bits of transaction ids. Two ids 2**31 apart can't be told from two that are close. The
margin is for transactions that begin during the load."""

READ = """
SELECT relation::bigint, relkind = 'm' OR pg_relation_filenode(relation) IS NOT DISTINCT FROM relfilenode,
  pg_partition_root(relation)::bigint
FROM pg_locks LEFT JOIN pg_class ON pg_class.oid = relation
WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation >= 16384
  AND pg_relation_filenode(relation) IS NOT NULL AND pg_get_indexdef(relation) IS NULL
  AND coalesce(relkind, 'r') IN ('r', 'm')
"""
"""The tables that this session's transaction has read, whether they are as in its snapshot, and of what they are parts.
Its locks keep them so.

The function returns the file that was read, pg_class has that of the snapshot: a rewrite makes another one. What is
newer than the snapshot has no row there. Every snapshot sees the rows of a materialized view, which a refresh rewrites.
Numbers below 16384 are the catalog's.
"""

MAINTAIN_UPDATED_AT = (
    "BEGIN PERFORM pg_catalog.pg_current_xact_id(); NEW.updated_at := pg_catalog.clock_timestamp(); RETURN NEW; END"
)
"""The only body of a trigger function that is trusted to maintain updated_at. Its transaction has an id before it looks
at the clock: a transaction that began after another load's snapshot has written no earlier time."""


class TableError(Exception):
    """One table can't be loaded; others can. The message is one line: what, where, what to do."""


@dataclass(frozen=True)
class Snapshot:
    """What a load sees of the source."""

    source: str
    """Server, timeline and database. The ids of another one say nothing about this one."""
    xmin: int
    """The oldest transaction that was open: the snapshot misses rows of this one and of later ones only. 64 bits."""
    next_id: int
    """Transactions from this one on began later. Not pg_snapshot_xmax(): open ones may be above it."""
    taken_at: datetime
    """By the source's clock, just before."""


@dataclass(frozen=True)
class Storage:
    """Where the rows of a table are, in the snapshot."""

    id: str
    """The database, the columns of the contract by number and type, and its key."""
    files: dict[int, int]
    """The file of each partition, or of the table: a rewrite, such as by ALTER TABLE, makes another one. A view
    has none, as its rows don't show when they were written."""
    trigger: str | None
    """The version of the trigger that maintains updated_at; None if updated_at isn't to be trusted, or has no index."""


@dataclass(frozen=True)
class Cursor:
    """The rows of a table that a load reads: written by transaction `xid` or later ones, or since `time`, or all."""

    xid: int | None = None
    time: datetime | None = None
    new_parts: tuple[int, ...] = ()
    """The oids of partitions to read entirely: their rows may be of old transactions."""

    @property
    def condition(self) -> str:
        if self.time:
            return f"updated_at >= '{self.time.isoformat()}'"
        if not self.xid:
            return "true"
        # By age, which is right when ids wrap around. Rows frozen two billion transactions ago have negative ages.
        written_since = f"age(xmin) BETWEEN 0 AND age('{self.xid}'::xid8::xid)"
        oids = ", ".join(map(str, self.new_parts))
        return f"({written_since} OR tableoid IN ({oids}))" if oids else written_since

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
        self._files: dict[Table, dict[int, int]] = {}
        self._expressions: dict[Table, dict[str, str]] = {}
        self._required: dict[Table, set[str]] = {}

    @classmethod
    @contextmanager
    def open(cls, url: str) -> Iterator["Reader"]:
        """Connect as the loader. Raises click.ClickException if the server can't be reached or disconnects."""
        address(url)
        settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        url = make_conninfo(
            url,
            application_name=f"meshflow on {socket.gethostname()}, process {os.getpid()}",
            options=f"{conninfo_to_dict(url).get('options', '')} {settings}",
            client_encoding="UTF8",
            keepalives_idle=60,  # seconds; a firewall may forget an idle session, and with it goes the lock
        )
        with clear_errors(url), closing(connect(url, autocommit=True)) as control:
            reader = cls(url, control)
            for statement in reader._newer_settings:
                control.execute(statement.encode())
            reader._require_settings()
            yield reader

    @property
    def _newer_settings(self) -> list[str]:
        version = self._control.info.server_version
        return [f"SET {name} = 0" for since, name in NEWER_SETTINGS.items() if version >= since]

    def _require_settings(self) -> None:
        """Raises click.ClickException if the server doesn't use SETTINGS. Values would differ, or rows be hidden."""
        used = """
            SELECT count(*) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)
            JOIN pg_catalog.pg_settings ON pg_catalog.lower(pg_settings.name) = wanted.name
            WHERE source = 'client'
              AND pg_catalog.split_part(pg_catalog.current_setting(wanted.name), ',', 1) = value
        """
        if self._one(used, list(SETTINGS), list(SETTINGS.values())) != (len(SETTINGS),):
            raise click.ClickException(
                f"PostgreSQL at {address(self._url)} ignores the settings of the session. {POOLER_ADVICE}"
            )

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
            raise self._unsupported("is older than version 13")
        if self._one("SELECT pg_is_in_recovery()") == (True,):
            # Its snapshots don't show which transactions of the primary are still open.
            raise self._unsupported(
                "is a standby, where a load would lose rows; set MESHFLOW_LOADER_URL to the primary"
            )
        source = self._database()
        # Before the snapshot: what it misses of transactions without an id is written later.
        (at,) = self._one("SELECT clock_timestamp()")
        self._control.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # The age of the first id is that of the next one, in 32 bits.
        exported, xmin, xmax, age = self._one(
            """
            SELECT
              pg_export_snapshot(), pg_snapshot_xmin(current)::text::bigint, pg_snapshot_xmax(current)::text::bigint,
              age('3'::xid)
            FROM pg_current_snapshot() AS current
            """
        )
        self._exported = exported
        self._files = {table: _files(self._control, table) for table in tables}
        self.snapshot = Snapshot(source, xmin, xmax + (age + 3 - xmax) % 2**32, at)
        return self.snapshot

    def _database(self) -> str:
        """Server, timeline and database. A restore to a point in time, or a failover, begins another timeline."""
        try:
            (timeline,) = self._one("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")
        except psycopg.Error:  # Amazon Aurora: its replicas have lost no transaction when they take over
            timeline = ""
        (database,) = self._one(
            """
            SELECT concat_ws('/', system_identifier, %s::text, pg_database.oid)
            FROM pg_control_system(), pg_database WHERE datname = current_database()
            """,
            timeline,
        )
        return str(database)

    def _one(self, statement: str, *parameters: object) -> tuple[Any, ...]:
        return self._control.execute(statement.encode(), parameters or None).fetchone() or ()

    def _all(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._control.execute(statement.encode(), parameters or None).fetchall()

    def _unsupported(self, why: str) -> click.ClickException:
        return click.ClickException(f"PostgreSQL at {address(self._url)} {why}")

    def new_columns(self, table: Table) -> dict[str, str]:
        """Columns of the source that aren't in the contract, with their types.

        Raises TableError if the table can't be loaded with the contract's columns, types and key.
        """
        relation = self._relation(table)
        found = {
            name: (type_, category, is_required)
            for name, type_, category, is_required in self._all(
                f"""
                SELECT attname, format_type(base.oid, base.modifier), base.typcategory::text, base.is_required
                FROM pg_attribute
                CROSS JOIN LATERAL (
                    WITH RECURSIVE domains AS (
                        SELECT atttypid AS oid, atttypmod AS modifier, {IS_REQUIRED} AS is_required
                        UNION ALL
                        SELECT typbasetype, typtypmod, is_required OR typnotnull
                        FROM domains JOIN pg_type ON pg_type.oid = domains.oid WHERE typtype = 'd'
                    )
                    SELECT pg_type.oid, modifier, typcategory, is_required
                    FROM domains JOIN pg_type ON pg_type.oid = domains.oid WHERE typtype <> 'd'
                ) AS base
                WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
                """,  # noqa: S608 - a constant
                relation,
            )
        }
        for column in table.source_columns:
            if column.name not in found:
                raise TableError(
                    f"{table}: column {column.name} is gone from the source; restore it, or remove it from "
                    f"{table.file} and from the models that read it"
                )
            type_, *_ = found[column.name]
            if not column.accepts(type_):
                raise TableError(
                    f"{table}: column {column.name} is {type_} in the source, which can have "
                    f"values that don't fit {column.type.sql('snowflake')} in {table.file}; change one of the types"
                )
        self._expressions[table] = {
            column.name: expression(column, *found[column.name][:2], is_key=column.name in table.key)
            for column in table.source_columns
        }
        self._required[table] = {name for name, (*_, is_required) in found.items() if is_required}
        self._require_access(table, relation)
        if table.key:
            self._require_key(table, relation)
        known = {column.name for column in table.source_columns}
        return {name: type_ for name, (type_, *_) in found.items() if name not in known}

    def _relation(self, table: Table) -> int:
        """The oid of `table`. Raises TableError if the source has no such table."""
        # Not to_regclass(): without a privilege on the schema it fails and ends the transaction of the snapshot.
        members = self._all(
            f"""
            {TREE} SELECT pg_class.oid, pg_class.relkind::text, coalesce(amname, 'heap')
            FROM tree JOIN pg_class USING (oid) JOIN pg_namespace ON pg_namespace.oid = relnamespace
            LEFT JOIN pg_am ON pg_am.oid = relam ORDER BY (nspname, relname) <> (%s, %s)
            """,  # noqa: S608 - a constant
            *(table.schema, table.name) * 2,
        )
        if not members:
            raise TableError(f"{table}: the source has no such table; if it was dropped, remove it from {table.file}")
        (oid, kind, _), *parts = members
        if kind == FOREIGN:
            raise TableError(f"{table}: {FOREIGN_ADVICE}")
        if kind not in {"r", "p"}:
            if kind in {"v", "m"} and not table.key:
                return int(oid)
            raise TableError(
                f"{table}: it isn't a table in the source, so nothing makes its key unique; remove the grain from "
                f"{table.file}, and each load replaces all rows"
            )
        if kind == "r" and parts and table.key:
            raise TableError(
                f"{table}: other tables inherit from it, and no key is unique in all of them; remove the grain from "
                f"{table.file}, and each load replaces all rows"
            )
        if any(kind not in {"r", "p"} or method != "heap" for _, kind, method in members):
            raise TableError(
                f"{table}: a part of it isn't stored as a heap, so its rows don't show who wrote them; load a view of "
                "it, without a grain, and each load replaces all rows"
            )
        return int(oid)

    def _require_access(self, table: Table, relation: int) -> None:
        """Raises TableError if the loader's role may not read all rows and columns."""
        columns = ["xmin", *(column.name for column in table.source_columns)]
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
        if may_use and may_select and not is_filtered:
            return
        role = identifier(self._control, self._control.info.user)
        if not may_use:
            schema = identifier(self._control, table.schema)
            raise TableError(
                f"{table}: permission denied for schema {schema}; `GRANT USAGE ON SCHEMA {schema} TO {role}`"
            )
        if not may_select:
            name = identifier(self._control, table.schema, table.name)
            raise TableError(f"{table}: permission denied for table; `GRANT SELECT ON {name} TO {role}`")
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
            f"""
            SELECT attname FROM pg_attribute
            WHERE attrelid = %s AND attname = ANY (%s) AND NOT ({IS_REQUIRED}) ORDER BY attnum
            """,  # noqa: S608 - a constant
            relation,
            list(table.key),
        )
        if nullable:
            names = ", ".join(name for (name,) in nullable)
            name, column = identifier(self._control, table.schema, table.name), identifier(self._control, *nullable[0])
            raise TableError(
                f"{table}: {names} of the key may be NULL in the source, and a merge by key finds no such row; "
                f"`ALTER TABLE {name} ALTER {column} SET NOT NULL`, or correct the grain in {table.file}"
            )

    def storage(self, table: Table) -> Storage:
        relation = self._relation(table)
        # A column that replaces another, or computes something else, has new values in old rows.
        (columns,) = self._one(
            """
            SELECT md5(string_agg(
              concat_ws(':', attnum, attname, atttypid, atttypmod, CASE WHEN attgenerated <> '' THEN
                pg_get_expr(adbin, adrelid)
              END, labels, attributes),
              ';' ORDER BY attnum
            ))
            FROM pg_attribute
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            -- The types within the column's: of a domain, an array, a range, a row.
            CROSS JOIN LATERAL (
                WITH RECURSIVE types AS (
                    SELECT atttypid AS type
                    UNION
                    SELECT part FROM types JOIN pg_type ON pg_type.oid = type LEFT JOIN pg_range ON rngtypid = type
                    CROSS JOIN LATERAL (
                        SELECT unnest(ARRAY[typbasetype, typelem, rngsubtype])
                        -- Version 13 has no multiranges.
                        UNION ALL SELECT rngtypid FROM pg_range AS multi
                        WHERE (to_jsonb(multi) ->> 'rngmultitypid')::oid = type
                        UNION ALL SELECT member.atttypid FROM pg_attribute AS member WHERE member.attrelid = typrelid
                    ) AS parts (part) WHERE part <> 0
                )
                SELECT
                  (SELECT string_agg(enumlabel, ',' ORDER BY pg_enum.oid) FROM pg_enum JOIN types ON type = enumtypid)
                    AS labels,
                  (SELECT string_agg(concat_ws(':', member.attname, member.atttypid), ',' ORDER BY typrelid, attnum)
                   FROM types JOIN pg_type ON pg_type.oid = type JOIN (
                     SELECT attrelid, attnum, attname, atttypid FROM pg_attribute WHERE attnum > 0
                   ) AS member ON member.attrelid = typrelid) AS attributes
            ) AS composed
            WHERE attrelid = %s AND attname = ANY (%s)
            """,
            relation,
            [column.name for column in table.source_columns],
        )
        key = ",".join(table.key)
        return Storage(f"{self.snapshot.source}/{columns}/{key}", self._files[table], self._trigger(relation))

    def _trigger(self, relation: int) -> str | None:
        """The version of the trigger by which the database itself sets updated_at of every row that is written.

        It fires always, last, and does nothing else. An index makes it worth while.
        """
        row = self._one(
            r"""
            SELECT concat_ws(':', trigger.oid, trigger.version, pg_proc.oid, pg_proc.xmin)
            FROM pg_class
            JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'updated_at' AND attnotnull
              AND atttypid = 'timestamptz'::regtype AND atttypmod = -1
            JOIN LATERAL (
                SELECT *, xmin AS version FROM pg_trigger
                WHERE tgrelid = pg_class.oid AND NOT tgisinternal AND tgtype & 3 = 3 AND tgtype & 20 <> 0
                ORDER BY tgname DESC LIMIT 1
            ) AS trigger ON tgtype & 20 = 20 AND tgenabled = 'A' AND tgqual IS NULL AND tgattr = ''
            JOIN pg_proc ON pg_proc.oid = tgfoid AND NOT prosecdef AND proconfig IS NULL
              AND btrim(regexp_replace(prosrc, '\s+', ' ', 'g')) = %s
            JOIN pg_language ON pg_language.oid = prolang AND lanname = 'plpgsql'
            WHERE pg_class.oid = %s AND relkind = 'r' AND EXISTS (
                SELECT 1 FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
                WHERE indrelid = attrelid AND indkey[0] = attnum AND indisvalid AND indpred IS NULL AND amname = 'btree'
            )
            """,
            MAINTAIN_UPDATED_AT,
            relation,
        )
        return str(row[0]) if row else None

    def rows(self, table: Table, cursor: Cursor) -> Iterator[tuple[pa.RecordBatch, Unfit]]:
        """The rows of `table` that `cursor` selects, in the contract's types; and the values that don't fit it.

        Raises TableError with the server's message, click.ClickException if the server closed the connection.
        """
        return self._typed_rows(table, table.source_columns, cursor.condition)

    def keys(self, table: Table, condition: str = "true", *others: str) -> pa.Table:
        """The keys of `table`, except those that don't fit the contract, and `others` of its columns.

        Raises as `rows` does.
        """
        names = dict.fromkeys([*table.key, *others])
        columns = [column for column in table.source_columns if column.name in names]
        schema = pa.schema([(column.name, column.arrow) for column in columns])
        batches = (batch for batch, _ in self._typed_rows(table, columns, condition))
        rows = pa.Table.from_batches(batches, schema).select(list(names))
        for name in table.key:
            rows = rows.filter(pc.is_valid(rows.column(name)))
        return rows

    def unfit_keys(self, table: Table) -> set[str]:
        """The keys, as `key_texts` writes them, of the rows with a value that doesn't fit. Raises as `rows` does."""
        condition = f"NOT ({fitting(table, self._expressions[table])})"
        batches = self._typed_rows(table, table.source_columns, condition)
        return {key for batch, unfit in batches for key in key_texts(batch, table.key, unfit)}

    def count(self, table: Table, cursor: Cursor = Cursor()) -> int:
        """The number of rows of `table` that `cursor` selects. Raises as `rows` does."""
        [batch] = self.query(table, f"SELECT count(*) FROM {self.quoted(table)} WHERE {cursor.condition}")  # noqa: S608
        return int(batch.column(0)[0].as_py())

    def replaceable_count(self, table: Table) -> int:
        """The number of rows of a table without a key. Raises TableError if they are too many to be replaced."""
        count = self.count(table)
        if count > table.max_rows:
            raise TableError(
                f"{table}: {count:,} rows without a key would be replaced in each load, so it isn't loaded, and no "
                f"model of {table.schema} gets new rows; name a key, `grain: (one, other)`, or raise the "
                f"{table.max_rows:,} allowed in {table.file}, `physical_properties: {{max_rows: {count}}}`"
            )
        return count

    def _typed_rows(
        self, table: Table, columns: Sequence[Column], condition: str
    ) -> Iterator[tuple[pa.RecordBatch, Unfit]]:
        expressions = (f"{self._expressions[table][column.name]} AS {quoted(column.name)}" for column in columns)
        statement = f"SELECT {', '.join(expressions)} FROM {self.quoted(table)} WHERE {condition}"  # noqa: S608
        for batch in self.query(table, statement):
            typed, unfit = {}, {}
            for column in columns:
                typed[column.name], texts = convert(column, batch.column(column.name))
                if texts is not None:
                    unfit[column] = texts
            yield pa.record_batch(typed), unfit

    def values(self, table: Table) -> dict[str, str]:
        """SQL for the value of each column of `table` that is loaded."""
        return self._expressions[table]

    def soft_delete(self, table: Table) -> Column | None:
        """The column `deleted_at` of `table`, if it is NULL while a row is active.

        One that is NOT NULL has a value in active rows too, such as 9999-12-31.
        """
        column = table.time("deleted_at")
        return None if column and column.name in self._required[table] else column

    @staticmethod
    def quoted(table: Table) -> str:
        """`table` in SQL."""
        return f"{quoted(table.schema)}.{quoted(table.name)}"

    def query(self, table: Table, statement: str) -> Iterator[pa.RecordBatch]:
        """The result of `statement` on `table` in the snapshot.

        Raises TableError with the server's message, or at the end if the table has changed otherwise than by rows since
        the snapshot; click.ClickException if the server closed the connection.
        """
        try:
            with closing(adbc_driver_postgresql.dbapi.connect(self._url)) as connection, connection.cursor() as cursor:
                for setting in self._newer_settings:
                    cursor.execute(setting)
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                if self._files[table]:  # or a partition that is left out would look like one that was detached
                    cursor.execute("SET enable_partition_pruning = off")
                cursor.execute(f"SET TRANSACTION SNAPSHOT '{self._exported}'")
                # Batches of 4 MB instead of 16 MB take 10 % less memory in total and are as fast.
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": 4_000_000})
                cursor.execute(statement)
                yield from _read_ahead(cursor.fetch_record_batch())
                cursor.execute(READ)
                self._require_same_files(table, cursor.fetchall())
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            self.check()
            is_locked = str(getattr(error, "sqlstate", "")) == LOCK_NOT_AVAILABLE
            cause = "another session, such as a migration, has locked the table" if is_locked else reason(error)
            raise TableError(f"{table}: the source's rows can't be read: {cause}") from None

    def _require_same_files(self, table: Table, read: list[tuple[Any, ...]]) -> None:
        """Raises TableError unless a session has read what `table` was in the snapshot. `read`: the result of READ.

        To an earlier snapshot, a table that ALTER TABLE has rewritten or TRUNCATE has emptied has no rows, and a view
        of it has none. Sessions see at once which partitions there are.
        """
        parts = self._files[table].keys()
        roots = {root for oid, _, root in read if oid in parts and root}
        # A function, such as of a cast, may read other tables.
        read_parts = {oid for oid, _, root in read if oid in parts or root in roots}
        if not all(is_same for _, is_same, _ in read) or read_parts != parts:
            raise TableError(
                f"{table}: during the load, ALTER TABLE, TRUNCATE or VACUUM FULL has rewritten it, or a partition was "
                "attached or detached; the next load reads it"
            )

    def check(self) -> None:
        """Raises click.ClickException if the control session, and with it the lock, is lost."""
        try:
            self._control.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise unreachable(self._url, error) from None


def _read_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches. The next one is read in a thread while this one is written: a sixth of a full load's time."""
    with ThreadPoolExecutor(1) as executor:
        batch = executor.submit(next, batches, None)
        while (current := batch.result()) is not None:
            batch = executor.submit(next, batches, None)
            yield current


def _files(connection: psycopg.Connection, table: Table) -> dict[int, int]:
    """The files of `table` and its partitions, by oid, in the session's snapshot; none of a view."""
    # Not pg_relation_filenode(), which doesn't look at the snapshot: a rewrite just before it would be missed.
    statement = f"{TREE} SELECT oid, relfilenode FROM tree JOIN pg_class USING (oid) WHERE relfilenode <> 0"  # noqa: S608
    return dict(connection.execute(statement.encode(), (table.schema, table.name)).fetchall())
