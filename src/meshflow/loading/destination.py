"""The warehouse's side of a load: the database RAW, written by dlt."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import click
import duckdb
import pyarrow as pa

from meshflow import settings
from meshflow.loading.contract import Table
from meshflow.loading.reader import TableError
from meshflow.postgres import reason

# dlt reads these when it is imported: no telemetry, no log of its own, and one thread, since tables go one by one.
os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL", "LOAD__WORKERS": "1"}
# A failed statement is not tried again here: the next load heals, and cron has one every five minutes.
os.environ |= {"LOAD__RAISE_ON_MAX_RETRIES": "1"}
# What was merged doesn't stay behind a second time. DuckDB would count those rows, even when deleted, as the source of
# its next merge: after a million of them, 10,000 rows took 3 s instead of 0.4 s.
os.environ |= {"LOAD__TRUNCATE_STAGING_DATASET": "true"}
# A pipeline would read its memory from the destination and add a row to it with every load.
os.environ |= {"RESTORE_FROM_DESTINATION": "false"}
import dlt
from dlt.common.exceptions import DltException

MERGE: Any = {"disposition": "merge", "strategy": "delete-insert", "deduplicated": True}
"""A DELETE by key and an INSERT in one transaction; keys are unique in the source, so dlt needn't look for
duplicates. DuckDB's MERGE of 4 million rows into as many takes 1.9 GB, these two 0.8 GB and two thirds of the time."""

MEMORY = "128MB"
"""What DuckDB has while it writes: enough for row groups on their way to the file. With what it may have otherwise,
four fifths of the machine, it keeps what it has written: 4 million rows would take 0.3 GB more than one million."""

REJECTIONS = ("08", "28")
"""The classes of SQLSTATE in which Snowflake doesn't let anybody in: connection, authorization."""

REJECTED = "Check MESHFLOW_SNOWFLAKE_ACCOUNT, MESHFLOW_SNOWFLAKE_LOADER_USER and its key or token"


class Destination:
    """RAW, as dlt writes it: a pipeline for each schema, none of which remembers anything between loads.

    dlt's working folder is new for each load, so a load that died leaves nothing that a later one could write with an
    old `_loaded_at`. What has loaded stands in the load log, in the destination itself.
    """

    def __init__(self, engine: Any, error: type[Exception], work: Path) -> None:
        """`engine` is dlt's destination, `error` what its driver raises, `work` dlt's folder."""
        self._engine, self._error, self._work = engine, error, work
        self._pipelines: dict[str, Any] = {}

    def fits(self, table: Table) -> bool:
        """Whether the columns that the table has in RAW, if any, have the contract's types."""
        with self._clear_errors("RAW can't be read"), self._pipeline(table.schema).destination_client() as client:
            _, stored = client.get_storage_table(table.name)
        columns = {name.lower(): column for name, column in stored.items()}
        return all(_same(hint, columns.get(name, hint)) for name, hint in table.hints.items())

    def write(self, table: Table, rows: Iterable[pa.RecordBatch], disposition: Any, *, recreate: bool = False) -> None:
        """Write `rows` in one transaction: 'merge' by key, or 'append'; into a new table, if it is to be made anew.

        Raises whatever TableError or click.ClickException `rows` raises, click.ClickException if the destination fails.
        """
        remaining = iter(rows)
        first, there = next(remaining, None), self.columns(table)
        if first is None and set(table.arrow.names) <= there:
            return
        if not there:
            disposition = "append"  # nothing to merge with, and rows needn't be staged
        resource: Any = dlt.resource(
            chain([first or table.arrow.empty_table()], remaining),
            name=table.name,
            primary_key=table.key,
            write_disposition=MERGE if disposition == "merge" else disposition,
            columns=cast("Any", table.hints),
            # New columns are those of a contract that has grown: rows have its columns, no others.
            schema_contract={"columns": "evolve", "data_type": "freeze"},
        )
        with self._clear_errors(f"{table} can't be written to RAW"):
            pipeline = self._pipeline(table.schema)
            pipeline.extract(resource, loader_file_format="parquet")
            pipeline.normalize()
            if recreate:
                self._forget(table)
            self._load(pipeline)

    def _forget(self, table: Table) -> None:
        """Drop the table, and dlt's notes of what is there. The next load makes it anew if this one dies here."""
        for dropped in (f"TABLE IF EXISTS {table}", f"TABLE IF EXISTS {table.schema}._dlt_version"):
            self.query(f"DROP {dropped}")
        self.query(f"DROP SCHEMA IF EXISTS {table.schema}_staging CASCADE")

    def _load(self, pipeline: Any) -> None:
        if self.dialect != "duckdb":
            pipeline.load()
            return
        [(all_it_may,)] = self.query("SELECT current_setting('memory_limit')")
        self._may_have(MEMORY)
        try:
            pipeline.load()
        except DltException as error:
            if not isinstance(list(_links(error))[-1], duckdb.OutOfMemoryException):
                raise
        else:
            return
        finally:
            self._may_have(all_it_may)
        pipeline.load()  # what failed, again: rows of kilobytes, or tens of millions to merge, need more

    def _may_have(self, memory: str) -> None:
        # Not RESET, which DuckDB 1.5 reports and doesn't do.
        self.query(f"SET memory_limit = '{memory}'")

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute one statement with parameters `%s`."""
        with self._clear_errors("RAW can't be read or written"), self._pipeline("loader").sql_client() as client:
            return list(client.execute_sql(statement, *parameters) or [])

    def arrow(self, statement: str) -> pa.Table:
        """The rows of a query."""
        with (
            self._clear_errors("RAW can't be read"),
            self._pipeline("loader").sql_client() as client,
            client.execute_query(statement) as cursor,
        ):
            table: pa.Table = cursor.arrow()
            return table

    def columns(self, table: Table) -> set[str]:
        """The columns that the table has in RAW; none if it isn't there."""
        rows = self.query(
            "SELECT column_name FROM information_schema.columns "
            "WHERE LOWER(table_schema) = %s AND LOWER(table_name) = %s",
            table.schema,
            table.name,
        )
        return {name.lower() for (name,) in rows}

    def create(self, table: Table) -> None:
        """Create a table of the loader's own if it isn't there."""
        columns = ", ".join(f"{column.name} {column.type.sql(self.dialect)}" for column in table.columns)
        self.query(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
        self.query(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")

    @property
    def dialect(self) -> str:
        return str(self._engine.destination_name)

    @contextmanager
    def _clear_errors(self, what: str) -> Iterator[None]:
        """Raise click.ClickException, `what` and why, for a failure of the destination; our own errors as they are."""
        try:
            yield
        except (DltException, self._error, OSError) as error:
            if own := _own(error):
                raise own from None
            # The driver's own words; what it stumbled over itself, a socket or a parser, says less.
            driver = next((link for link in _links(error) if isinstance(link, self._error)), list(_links(error))[-1])
            advice = f". {REJECTED}" if str(getattr(driver, "sqlstate", "")).startswith(REJECTIONS) else ""
            raise click.ClickException(f"{what}: {reason(driver)}{advice}") from None

    def _pipeline(self, schema: str) -> Any:
        if schema not in self._pipelines:
            self._pipelines[schema] = dlt.pipeline(
                pipeline_name=f"meshflow_{schema}",
                destination=self._engine,
                dataset_name=schema,
                pipelines_dir=str(self._work),
            )
        return self._pipelines[schema]


@contextmanager
def open_destination(gateway: str, data: Path, wait: float, on_wait: Callable[[str], None]) -> Iterator[Destination]:
    """The destination of SQLMesh's gateway of that name; its files, and the loader's working folder, stand in `data`.

    DuckDB lets one process in: wait up to `wait` seconds for another to leave, and keep it out until the load ends.
    """
    work = data / "loader"
    shutil.rmtree(work, ignore_errors=True)
    try:
        if gateway == "live":
            with closing(_duckdb(data / "live_raw.duckdb", wait, on_wait)) as connection:
                yield Destination(dlt.destinations.duckdb(connection), duckdb.Error, work)
        else:
            yield _snowflake(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _snowflake(work: Path) -> Destination:
    credentials = settings.snowflake()
    # A laptop has neither the connector nor what reads keys.
    from dlt.common.libs.cryptography import decode_private_key  # noqa: PLC0415
    from snowflake.connector import Error  # noqa: PLC0415

    if "private_key" in credentials:
        try:
            decode_private_key(credentials["private_key"], credentials["private_key_passphrase"])
        except ValueError:
            raise click.ClickException(
                "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY is no private key, or none that "
                "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY_PASSPHRASE opens: set it to the PEM, or to its body on one line"
            ) from None
    # Rows hold personal data: none stay in the stage.
    return Destination(dlt.destinations.snowflake(credentials, keep_staged_files=False), Error, work)


def _duckdb(path: Path, wait: float, on_wait: Callable[[str], None]) -> duckdb.DuckDBPyConnection:
    deadline, told, is_new = time.monotonic() + wait, False, not path.exists()
    while True:
        try:
            # Two threads, since PostgreSQL sends from one and each wants memory of its own; rows needn't keep an order.
            return duckdb.connect(str(path), config={"threads": 2, "preserve_insertion_order": False})
        except duckdb.Error as error:
            holder = re.search(r"Conflicting lock is held in .*\(PID (\d+)\)", str(error))
            if holder is None:
                if is_new:
                    path.unlink(missing_ok=True)  # half a database, which no later load could open
                raise click.ClickException(f"{path} can't be opened: {reason(error)}") from None
            held = f"process {holder[1]} has {path} open, and DuckDB lets one process in"
            if time.monotonic() > deadline:
                raise click.ClickException(f"{held}: wait for a plan or run to end, or close what else it is") from None
            if not told:
                on_wait(f"Waiting up to {wait:.0f} s: {held}")
                told = True
            time.sleep(0.2)


def _same(wanted: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether two columns have one type, as dlt describes them; it has a name of its own for DECIMAL(38, 0)."""
    kind, precision, scale = stored["data_type"], stored.get("precision"), stored.get("scale")
    if kind == "wei":
        kind, precision, scale = "decimal", 38, 0
    if kind == "decimal":
        return (kind, precision, scale) == (wanted["data_type"], wanted.get("precision"), wanted.get("scale"))
    # Snowflake has one type for all integers, and tells no precision.
    return kind == wanted["data_type"] and (kind != "bigint" or precision in {None, wanted.get("precision", 64)})


def _links(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _own(error: BaseException) -> Exception | None:
    """The error that our own rows raised, which dlt has wrapped."""
    return next((link for link in _links(error) if isinstance(link, TableError | click.ClickException)), None)
