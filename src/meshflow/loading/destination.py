"""The destination of a load: the database RAW, written by dlt."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import blake2s
from itertools import chain
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import click
import duckdb
import pyarrow as pa

from meshflow import settings
from meshflow.loading.contract import DELETED_AT, LOADED_AT, STAGING, Table
from meshflow.loading.reader import TableError
from meshflow.postgres import reason

# dlt reads these at import: no telemetry, no log of its own, and one thread, since tables load one after another.
os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL", "LOAD__WORKERS": "1"}
# dlt doesn't retry a failed statement: the next load does, and cron starts one every five minutes.
os.environ |= {"LOAD__RAISE_ON_MAX_RETRIES": "1"}
# Truncate staging tables after a merge. Otherwise DuckDB's next merge scans their old rows, even deleted ones: after a
# million of them, 10,000 rows took 3 s instead of 0.4 s.
os.environ |= {"LOAD__TRUNCATE_STAGING_DATASET": "true"}
# Otherwise a pipeline reads its state from the destination and adds a row to it with every load.
os.environ |= {"RESTORE_FROM_DESTINATION": "false"}
# Rows are replaced in one transaction. Otherwise the table would be empty meanwhile, or after a failure.
os.environ |= {"DESTINATION__REPLACE_STRATEGY": "insert-from-staging"}
# dlt's own layout is a name that a schema of the source may have, too, and dlt empties it.
os.environ |= {"DESTINATION__STAGING_DATASET_NAME_LAYOUT": STAGING.format("%s")}
# Otherwise userName would be user_name.
os.environ |= {"SCHEMA__NAMING": "meshflow.loading.naming"}
import dlt
from dlt.common.exceptions import DltException

MERGE: Any = {"disposition": "merge", "strategy": "delete-insert", "deduplicated": True}
"""A DELETE by key and an INSERT in one transaction. Keys are unique in the source, so dlt needn't remove duplicates.
For 4 million rows into as many, DuckDB's MERGE takes 1.9 GB; these two take 0.8 GB and two thirds of the time."""

MEMORY_LIMIT = "128MB"
"""DuckDB's memory limit while it writes: enough for the row groups in progress. With its default, 80 % of the machine,
it caches written rows: 4 million rows would take 0.3 GB more than one million."""

STAGE = "RAW.LOADER.FILES"
"""Snowflake's stage of the files in progress. One for all tables: one statement removes what any load has left."""

LOGIN_ERROR_CLASSES = ("08", "28")
"""Classes of SQLSTATE for a failed login to Snowflake: connection exception, invalid authorization."""

LOGIN_ADVICE = "Check MESHFLOW_SNOWFLAKE_ACCOUNT, MESHFLOW_SNOWFLAKE_LOADER_USER and its key, token or subject"


@dataclass(frozen=True)
class Counts:
    """Rows of a table in RAW."""

    present: int
    """Those that the source had at the last load."""
    written: int
    """Those written since a point in time."""


class Destination:
    """RAW, written by dlt with one pipeline per table. Pipelines keep no state between loads.

    Each load has a new working folder of dlt. So a failed load leaves no rows that a later load could write with an old
    `_loaded_at`. The destination contains the load log.
    """

    def __init__(self, engine: Any, error: type[Exception], work: Path, tables: Iterable[Table]) -> None:
        """`engine` is dlt's destination, `error` its driver's exception class, `work` dlt's working folder."""
        self._engine, self._error, self._work, self._tables = engine, error, work, list(tables)
        self._pipelines: dict[str, Any] = {}
        self._columns: dict[str, dict[str, dict[str, Any]]] = {}
        self._staged: set[str] = set()
        self._opened = ExitStack()

    def remove_leftovers(self) -> None:
        """Remove the staged files of failed and killed loads. They contain rows, and nothing else would remove them.

        Call it while this load has the lock: those of a running one look alike.
        """
        if self.dialect == "snowflake":
            self.query(f"CREATE STAGE IF NOT EXISTS {STAGE}")
            self.query(f"REMOVE @{STAGE}")

    def remove_files(self, folder: str) -> None:
        """Remove the files of this load, which are in a folder of the stage, with one statement for all tables.

        Those of another one stay: this load may have lost the lock meanwhile.
        """
        if self._staged:
            self.query(f"REMOVE @{STAGE}/{folder}")

    def has_contract_types(self, table: Table) -> bool:
        """Whether the existing columns of the table in RAW have the contract's types; True if there are none."""
        stored = self._stored(table)
        return all(_same_type(hint, stored.get(name.lower(), hint)) for name, hint in table.hints.items())

    def _stored(self, table: Table) -> dict[str, Any]:
        """The columns of the table in RAW, in dlt's notation, by name in lower case; empty if it doesn't exist.

        One statement reads those of all tables of a schema.
        """
        if table.schema not in self._columns:
            names = {one.name.lower() for one in self._tables if one.schema == table.schema}
            with self._clear_errors("RAW can't be read"), self._pipeline(table.schema).destination_client() as client:
                self._columns[table.schema] = {
                    name: {column.lower(): hint for column, hint in columns.items()}
                    for name, columns in client.get_storage_tables(names)
                }
        return self._columns[table.schema][table.name.lower()]

    def write(
        self,
        table: Table,
        rows: Iterable[pa.RecordBatch],
        disposition: Any,
        *,
        recreate: bool = False,
        before_write: Callable[[], object] = list,
    ) -> None:
        """Write `rows` in one transaction: 'merge' by key, 'append', or 'replace' all. `recreate` drops it first.

        `before_write` is called once all rows have been read, if the table changes. Raises its errors and those of
        `rows`, TableError or click.ClickException, and click.ClickException if the destination fails.
        """
        remaining = iter(rows)
        first, existing = next(remaining, None), self.columns(table)
        is_complete = {name.lower() for name in table.arrow.names} <= existing
        if first is None and is_complete and not recreate and disposition != "replace":
            return
        if not existing:
            disposition = "append"  # a new table needs no merge, so rows needn't be staged
        resource: Any = dlt.resource(
            chain([first or table.arrow.empty_table()], remaining),
            name=table.name,
            primary_key=table.key,
            write_disposition=MERGE if disposition == "merge" else disposition,
            columns=cast("Any", table.hints),
            # Rows have exactly the contract's columns: a new column is one that was added to the contract.
            schema_contract={"columns": "evolve", "data_type": "freeze"},
        )
        with self._clear_errors(f"{table} can't be written to RAW"):
            # dlt doesn't look at a table whose schema it has recorded. A new name makes it create what is missing.
            exists = is_complete and not recreate
            pipeline = self._pipeline(table.schema, table.name if exists else f"{table.name} {uuid4()}")
            pipeline.extract(resource, loader_file_format="parquet")
            pipeline.normalize()
            before_write()
            if recreate:
                self._drop(table)
            self._create_staging(table.schema)
            self._load(pipeline)
        self._stored(table).update({name.lower(): hint for name, hint in table.hints.items()})

    def _drop(self, table: Table) -> None:
        """Drop the table. If this load fails here, the next one creates it."""
        self.query(f"DROP TABLE IF EXISTS {self.quoted(table.schema, table.name)}")
        self.query(f"DROP SCHEMA IF EXISTS {self.quoted(STAGING.format(table.schema))} CASCADE")
        self._staged.discard(table.schema)

    def _create_staging(self, schema: str) -> None:
        """Create the schema of staging tables before dlt does, whose tables would keep old rows for two weeks."""
        if self.dialect == "snowflake" and schema not in self._staged:
            name = STAGING.format(schema)
            self.query(f"CREATE TRANSIENT SCHEMA IF NOT EXISTS {self.quoted(name)} DATA_RETENTION_TIME_IN_DAYS = 0")
            self._engine.schemas.add(name)
            self._staged.add(schema)

    def _load(self, pipeline: Any) -> None:
        if self.dialect != "duckdb":
            pipeline.load()
            return
        [(default_limit,)] = self.query("SELECT current_setting('memory_limit')")
        self._set_memory_limit(MEMORY_LIMIT)
        try:
            pipeline.load()
        except DltException as error:
            if not isinstance(list(_causes(error))[-1], duckdb.OutOfMemoryException):
                raise
        else:
            return
        finally:
            self._set_memory_limit(default_limit)
        pipeline.load()  # retry: rows of kilobytes, or merges of tens of millions, need more memory

    def _set_memory_limit(self, limit: str) -> None:
        # Not RESET: in DuckDB 1.5 it succeeds without an effect.
        self.query(f"SET memory_limit = '{limit}'")

    def close(self) -> None:
        """End the session of `query` and `arrow`."""
        self._opened.close()

    @cached_property
    def _client(self) -> Any:
        """One session for all statements: a new one takes dlt 40 ms, and a login to Snowflake."""
        return self._opened.enter_context(self._pipeline("loader").sql_client())

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute one statement with parameters `%s`."""
        with self._clear_errors("RAW can't be read or written"):
            return list(self._client.execute_sql(statement, *parameters) or [])

    def arrow(self, statement: str) -> pa.Table:
        """The rows of a query."""
        with self._clear_errors("RAW can't be read"), self._client.execute_query(statement) as cursor:
            table: pa.Table | None = cursor.arrow()
            # Snowflake's driver returns none without a row.
            return table if table is not None else pa.table({name: [] for name, *_ in cursor.description})

    def columns(self, table: Table) -> set[str]:
        """The names of the table's columns in RAW, in lower case; empty if it doesn't exist."""
        return set(self._stored(table))

    def counts(self, since: dict[Table, datetime]) -> dict[Table, Counts]:
        """The rows of each table, and those written since its time, UTC. One statement counts all of them."""
        if not since:
            return {}
        selects = (
            f"SELECT {number} AS number, COUNT(CASE WHEN {DELETED_AT} IS NULL THEN 1 END) AS present, "  # noqa: S608
            f"COUNT(CASE WHEN {LOADED_AT} > CAST('{time.replace(tzinfo=None)}' AS TIMESTAMP) THEN 1 END) AS written "
            f"FROM {self.quoted(table.schema, table.name)}"
            for number, (table, time) in enumerate(since.items())
        )
        rows = self.query(" UNION ALL ".join(selects))
        return {list(since)[number]: Counts(present, written) for number, present, written in rows}

    def quoted(self, *names: str) -> str:
        """A name in SQL, whatever its letters and words. Names are case-insensitive in RAW."""
        folded = (name.upper() if self.dialect == "snowflake" else name for name in names)
        return ".".join(f'"{name}"' for name in folded)

    def create(self, table: Table) -> None:
        """Create a table of the loader's own if it doesn't exist, and add the columns that it lacks."""
        existing = self.columns(table)
        missing = [
            f"{column.name} {column.type.sql(self.dialect)}" for column in table.columns if column.name not in existing
        ]
        if existing:
            for column in missing:
                self.query(f"ALTER TABLE {table} ADD COLUMN {column}")
        else:
            self.query(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
            self.query(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(missing)})")

    @property
    def dialect(self) -> str:
        return str(self._engine.destination_name)

    @contextmanager
    def _clear_errors(self, what: str) -> Iterator[None]:
        """Convert errors of the destination to click.ClickException with `what` and the reason; not our own errors."""
        try:
            yield
        except (DltException, self._error, OSError) as error:
            if own := _own_error(error):
                raise own from None
            # The driver's message: its cause, such as a socket error, is less specific.
            driver = next(
                (cause for cause in _causes(error) if isinstance(cause, self._error)), list(_causes(error))[-1]
            )
            advice = f". {LOGIN_ADVICE}" if str(getattr(driver, "sqlstate", "")).startswith(LOGIN_ERROR_CLASSES) else ""
            raise click.ClickException(f"{what}: {reason(driver)}{advice}") from None

    def _pipeline(self, schema: str, name: str = "") -> Any:
        """The pipeline of a table, or of a schema for statements on all of its tables.

        dlt records each schema that a pipeline has had, which takes ten statements. That of one table rarely changes.
        """
        # Names may contain characters that no folder can have.
        key = blake2s(f"{schema}.{name}".encode(), digest_size=8).hexdigest()
        if key not in self._pipelines:
            self._pipelines[key] = dlt.pipeline(
                pipeline_name=f"meshflow_{key}",
                destination=self._engine,
                dataset_name=schema,
                pipelines_dir=str(self._work),
            )
        return self._pipelines[key]


@contextmanager
def open_destination(  # noqa: PLR0913 - what to open and how to wait
    gateway: str,
    data: Path,
    tables: Iterable[Table],
    wait: float,
    on_wait: Callable[[str], None],
    *,
    work: Path | None = None,
) -> Iterator[Destination]:
    """Open the database RAW of a SQLMesh gateway, to write `tables`.

    Its files are in `data`, and by default the working folder `work`.

    DuckDB allows one process at a time: wait up to `wait` seconds for its lock, and hold it until the load ends.
    """
    work = work or data / "loader"
    shutil.rmtree(work, ignore_errors=True)
    try:
        if gateway == "live":
            with (
                closing(_duckdb(data / "live_raw.duckdb", wait, on_wait)) as connection,
                closing(Destination(dlt.destinations.duckdb(connection), duckdb.Error, work, tables)) as destination,
            ):
                yield destination
        else:
            with _snowflake(work, tables) as destination:
                yield destination
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _snowflake(work: Path, tables: Iterable[Table]) -> Iterator[Destination]:
    credentials: Any = settings.snowflake()
    # Optional dependencies, which loads into DuckDB don't need.
    from dlt.common.libs.cryptography import decode_private_key  # noqa: PLC0415
    from snowflake.connector import Error  # noqa: PLC0415

    from meshflow.loading.snowflake import KeylessCredentials, OneSession  # noqa: PLC0415

    if "private_key" in credentials:
        try:
            decode_private_key(credentials["private_key"], credentials["private_key_passphrase"])
        except ValueError:
            raise click.ClickException(
                "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY is no private key, or "
                "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY_PASSPHRASE doesn't decrypt it: set the key to the PEM, "
                "or to its body on one line"
            ) from None
    if credentials.get("authenticator") == "workload_identity":
        credentials = KeylessCredentials(credentials)
        credentials.resolve()  # dlt would copy the fields of unresolved ones into its own class
    folder = uuid4().hex
    engine = OneSession(credentials, keep_staged_files=True, stage_name=f"{STAGE}/{folder}")
    with closing(engine), closing(Destination(engine, Error, work, tables)) as destination:
        try:
            yield destination
        finally:
            with suppress(click.ClickException):  # the next load removes them
                destination.remove_files(folder)


def _duckdb(path: Path, wait: float, on_wait: Callable[[str], None]) -> duckdb.DuckDBPyConnection:
    deadline, has_reported, is_new = time.monotonic() + wait, False, not path.exists()
    while True:
        try:
            # Two threads: PostgreSQL sends from one, and each thread needs memory. The order of rows doesn't matter.
            return duckdb.connect(str(path), config={"threads": 2, "preserve_insertion_order": False})
        except duckdb.Error as error:
            holder = re.search(r"Conflicting lock is held in .*\(PID (\d+)\)", str(error))
            if holder is None:
                if is_new:
                    path.unlink(missing_ok=True)  # an incomplete database, which no later load could open
                raise click.ClickException(f"{path} can't be opened: {reason(error)}") from None
            conflict = f"process {holder[1]} has {path} open, and DuckDB lets one process in"
            if time.monotonic() > deadline:
                raise click.ClickException(
                    f"{conflict}: wait for the plan or run to end, or stop that process"
                ) from None
            if not has_reported:
                on_wait(f"Waiting up to {wait:.0f} s: {conflict}")
                has_reported = True
            time.sleep(0.2)


def values(rows: Sequence[tuple[object, ...]]) -> tuple[str, Iterator[object]]:
    """`VALUES` with a placeholder for each value of the rows, and the parameters."""
    row = f"({', '.join(['%s'] * len(rows[0]))})"
    return f"VALUES {', '.join([row] * len(rows))}", chain.from_iterable(rows)


def _same_type(wanted: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether two columns in dlt's notation have the same type. dlt calls DECIMAL(38, 0) 'wei'."""
    kind, precision, scale = stored["data_type"], stored.get("precision"), stored.get("scale")
    if kind == "wei":
        kind, precision, scale = "decimal", 38, 0
    if kind == "decimal":
        return (kind, precision, scale) == (wanted["data_type"], wanted.get("precision"), wanted.get("scale"))
    # Snowflake has one type for all integers, and dlt reads no precision from it.
    return kind == wanted["data_type"] and (kind != "bigint" or precision in {None, wanted.get("precision", 64)})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _own_error(error: BaseException) -> Exception | None:
    """The error raised by our own rows, which dlt has wrapped."""
    return next((cause for cause in _causes(error) if isinstance(cause, TableError | click.ClickException)), None)
