"""A load: rows that were written in the sources since the last load, merged into RAW by key."""

import socket
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import click
import pyarrow as pa

from meshflow.loading.contract import DELETED_AT, LOADED_AT, Table, contract, source_tables
from meshflow.loading.deletions import Deletions, find_deleted, mark
from meshflow.loading.destination import Destination, open_destination
from meshflow.loading.load_log import Load, LoadLog
from meshflow.loading.reader import LAG, Cursor, Reader, Snapshot, Storage, TableError
from meshflow.loading.rejections import Rejections, read_rejected_keys
from meshflow.postgres import unverified


class Reporter(Protocol):
    """Receives the events of a load as they happen."""

    def waiting(self, message: str) -> None: ...
    def warned(self, message: str) -> None: ...
    def locked(self, holder: str) -> None: ...
    def started(self, table: Table, cursor: Cursor) -> None: ...
    def rows(self, table: Table, count: int) -> None: ...
    def new_column(self, table: Table, name: str, type_: str) -> None: ...
    def finished(self, load: Load) -> None: ...
    def rejected(self, table: Table, message: str) -> None: ...


@dataclass(frozen=True)
class Session:
    """An open load: lock, source and destination."""

    reader: Reader
    destination: Destination
    load_log: LoadLog
    tables: list[Table]
    started_at: datetime
    snapshot: Snapshot


@contextmanager
def session(  # noqa: PLR0913 - source, destination and how to wait
    url: str, gateway: str, data: Path, wait: float, reporter: Reporter, *, at: datetime | None = None
) -> Iterator[Session | None]:
    """Open a load: take the lock, open the destination and take a snapshot of the sources.

    Yields None if another load holds the lock. The load is dated now, or `at`: SQLMesh processes its rows in the
    interval of that timestamp. Raises click.ClickException if the source or the destination can't be reached.
    """
    tables = contract()
    loaded = source_tables(tables)
    with ExitStack() as opened:
        try:
            reader = opened.enter_context(Reader.open(url))
        except click.ClickException as error:
            _log_unreachable(gateway, data, error, at)
            raise
        if warning := unverified(url):
            reporter.warned(warning)
        destination_id = f"{gateway} {socket.gethostname()} {data.resolve()}" if gateway == "live" else gateway
        if holder := reader.lock(destination_id):
            reporter.locked(holder)
            yield None
            return
        with open_destination(gateway, data, tables.values(), wait, reporter.waiting) as destination:
            load_log = LoadLog(destination, tables)
            destination.remove_leftovers()
            load_log.close_killed()
            # The start precedes the snapshot: a row that this snapshot misses is loaded by a later load.
            started_at = load_log.next_start(at or datetime.now(UTC))
            with _logged_failure(load_log, loaded, started_at):
                snapshot = reader.take_snapshot(loaded)
            yield Session(reader, destination, load_log, loaded, started_at, snapshot)


def _log_unreachable(gateway: str, data: Path, error: Exception, at: datetime | None) -> None:
    """Log that no table could be loaded, if RAW exists and no other process has it open."""
    if gateway == "live" and not (data / "live_raw.duckdb").exists():
        return
    tables = contract()
    # A working folder of its own: the lock against other loads is in the source.
    with (
        suppress(click.ClickException),
        TemporaryDirectory() as work,
        open_destination(gateway, data, tables.values(), 0, lambda _: None, work=Path(work)) as destination,
    ):
        load_log = LoadLog(destination, tables)
        load_log.fail(source_tables(tables), load_log.next_start(at or datetime.now(UTC)), error)


@contextmanager
def _logged_failure(load_log: LoadLog, tables: Iterable[Table], started_at: datetime) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        with suppress(click.ClickException):  # the destination may be what has failed
            load_log.fail(tables, started_at, error)
        raise


def load_tables(session: Session, reporter: Reporter, *, only: Iterable[str] = (), full_refresh: bool = False) -> bool:
    """Load new and changed rows, or all rows, of the tables in `only`, or of all tables.

    Returns whether all of them were loaded. A table that can't be loaded is rejected; the others are loaded. Raises
    click.ClickException if the source or the destination fails: earlier tables are loaded, later ones are unchanged.
    """
    selected = set(only)
    tables = [table for table in session.tables if not selected or str(table) in selected]
    log, rejected = session.load_log, set[Table]()

    @contextmanager
    def rejection(table: Table) -> Iterator[None]:
        try:
            yield
        except TableError as error:
            log.fail([table], session.started_at, error)
            reporter.rejected(table, str(error))
            rejected.add(table)

    with _logged_failure(log, tables, session.started_at):
        log.read(tables)
        rejected_keys = read_rejected_keys(session.destination)
        loads = []
        for table in tables:
            with rejection(table):
                loads.append(_prepare(session, table, reporter, full_refresh=full_refresh))
        log.begin(loads)
        for load in loads:
            with rejection(load.table):
                rejections = Rejections(
                    session.destination,
                    load.table,
                    rejected_keys.get(str(load.table), set()),
                    all_rows=load.cursor == Cursor(),
                )
                _load(session, load, rejections, reporter, full_refresh=full_refresh)
        log.save()
    return not rejected


def _prepare(session: Session, table: Table, reporter: Reporter, *, full_refresh: bool) -> Load:
    """What to read. Raises TableError if the table can't be loaded."""
    for name, type_ in session.reader.new_columns(table).items():
        reporter.new_column(table, name, type_)
    if not full_refresh and not session.destination.has_contract_types(table):
        raise TableError(
            f"{table}: the column types in RAW differ from {table.file}; "
            f"`meshflow load --full-refresh --only {table}` recreates the table"
        )
    storage = session.reader.storage(table)
    cursor = Cursor() if full_refresh else _cursor(session, table, storage)
    return Load(table, session.started_at, cursor, storage, session.snapshot)


def _load(session: Session, load: Load, rejections: Rejections, reporter: Reporter, *, full_refresh: bool) -> None:
    table, count = load.table, 0

    def rows() -> Generator[pa.RecordBatch, None, None]:
        nonlocal count
        loaded_at = pa.scalar(session.started_at.replace(tzinfo=None), pa.timestamp("us"))
        for read, unfit in session.reader.rows(table, load.cursor):
            if count:
                session.load_log.save()  # this table may take long, and runs wait for earlier ones
            batch = rejections.sort_out(read, unfit)
            columns = {name: batch.column(name) for name in batch.schema.names}
            columns[LOADED_AT] = pa.repeat(loaded_at, batch.num_rows)
            columns[DELETED_AT] = pa.nulls(batch.num_rows, pa.timestamp("us"))
            count += batch.num_rows
            reporter.rows(table, count)
            yield pa.record_batch([columns[name] for name in table.arrow.names], schema=table.arrow)

    def before_change() -> None:
        session.load_log.before_change(table)
        # Without the lock, another load may have written newer rows.
        session.reader.check()

    reporter.started(table, load.cursor)
    deletions = Deletions()
    is_replaced = not table.key and (full_refresh or _has_changed(session, load, rejections))
    # Closed, or after a failure the session in PostgreSQL would keep its lock on the table.
    with closing(rows()) as batches:
        if table.key or is_replaced:
            how, recreate = "merge" if table.key else "replace", not session.destination.has_contract_types(table)
            session.destination.write(table, batches, how, recreate=recreate, before_write=before_change)
            if table.key:
                deletions = _mark_deleted(session, table, rejections, before_change)
            rejections.save(session.started_at)
    session.reader.check()
    if summary := rejections.summary():
        reporter.warned(summary)
    if deletions.unmarked:
        reporter.warned(
            f"{table}: {deletions.unmarked:,} rows of RAW are missing in the source, and the table has more rows than "
            f"the {table.max_rows:,} whose keys a load compares; `meshflow reconcile --repair` marks them as deleted, "
            f"`physical_properties: {{max_rows: …}}` in {table.file} allows more"
        )
    reporter.finished(session.load_log.finish(load, count, deletions))


def _mark_deleted(
    session: Session, table: Table, rejections: Rejections, before_mark: Callable[[], object]
) -> Deletions:
    """Mark the rows of RAW that are missing in the source or rejected. Raises TableError if RAW misses rows."""
    in_raw = session.load_log.counts(table).present
    deleted, unmarked = find_deleted(session.reader, session.destination, table, rejections, in_raw)
    if deleted.num_rows:
        before_mark()
        mark(session.reader, session.destination, table, deleted, session.started_at)
    return Deletions(deleted.num_rows, unmarked)


def _cursor(session: Session, table: Table, storage: Storage) -> Cursor:
    """The rows to read: what the previous load's snapshot has missed."""
    if not {name.lower() for name in table.arrow.names} <= session.destination.columns(table):
        return Cursor()  # a column was added to the contract: its past values are missing
    previous = session.load_log.previous(table, storage, session.snapshot) if table.key else None
    if not previous:
        return Cursor()
    if previous.time:
        return Cursor(time=previous.time - LAG)
    return Cursor(xid=previous.xmin, new_parts=tuple(sorted(storage.files.keys() - previous.files)))


def _has_changed(session: Session, load: Load, rejections: Rejections) -> bool:
    """Whether a table without a key has other rows than RAW. Raises TableError if it is too large to be replaced."""
    table, storage = load.table, load.storage
    count = session.reader.replaceable_count(table)
    names = {name.lower() for name in table.arrow.names}
    previous = session.load_log.previous(table, storage, session.snapshot)
    # A view's rows don't show when they were written.
    if not previous or not storage.files or not names <= session.destination.columns(table):
        return True
    written = Cursor(xid=previous.xmin, new_parts=tuple(sorted(storage.files.keys() - previous.files)))
    in_raw = session.load_log.counts(table).present
    return bool(session.reader.count(table, written)) or in_raw + rejections.earlier_count != count
