"""A load: whatever the sources have written since the last one, merged into RAW by key."""

import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from meshflow.loading.contract import Table, contract, source_tables
from meshflow.loading.destination import Destination, open_destination
from meshflow.loading.load_log import Load, LoadLog
from meshflow.loading.reader import Reader, TableError


class Reporter(Protocol):
    """Whom a load tells what happens, as it happens."""

    def waiting(self, message: str) -> None: ...
    def locked(self, holder: str) -> None: ...
    def started(self, table: Table, cursor_start: datetime | None) -> None: ...
    def rows(self, table: Table, count: int) -> None: ...
    def new_column(self, table: Table, name: str, type_: str) -> None: ...
    def finished(self, load: Load) -> None: ...
    def rejected(self, table: Table, message: str) -> None: ...


@dataclass(frozen=True)
class Session:
    """The right to load, and both ends of it."""

    reader: Reader
    destination: Destination
    load_log: LoadLog
    tables: list[Table]
    started_at: datetime
    watermark: datetime | None


@contextmanager
def session(  # noqa: PLR0913 - both ends, and how to meet them
    url: str, gateway: str, data: Path, wait: float, reporter: Reporter, *, at: datetime | None = None
) -> Iterator[Session | None]:
    """Hold the lock, the destination and a snapshot of the sources; None if another load holds the lock.

    The load starts now, or is taken to start `at`: SQLMesh processes its rows in the interval in which it started.
    Raises click.ClickException if either end can't be reached.
    """
    tables = contract()
    with Reader.open(url) as reader:
        place = f"{gateway} {socket.gethostname()} {data.resolve()}" if gateway == "live" else gateway
        if holder := reader.lock(place):
            reporter.locked(holder)
            yield None
            return
        with open_destination(gateway, data, wait, reporter.waiting) as destination:
            load_log = LoadLog(destination, tables)
            # The start comes before the snapshot: a row that this load misses loads with a later one.
            started_at = load_log.next_start(at or datetime.now(UTC))
            yield Session(reader, destination, load_log, source_tables(tables), started_at, reader.take_snapshot())


def load_tables(session: Session, reporter: Reporter, *, only: Iterable[str] = (), full_refresh: bool = False) -> bool:
    """Load the tables named by `only`, or all; what is new, or everything. Returns whether all of them have loaded.

    A table that can't be loaded is rejected alone. Raises click.ClickException if either end fails: tables before that
    have loaded, the others are as they were.
    """
    wanted = set(only)
    tables = [table for table in session.tables if not wanted or str(table) in wanted]
    outcomes = [_load(session, table, reporter, full_refresh=full_refresh) for table in tables]
    return all(outcomes)


def _load(session: Session, table: Table, reporter: Reporter, *, full_refresh: bool) -> bool:
    count = 0

    def counted(batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        nonlocal count
        for batch in batches:
            count += batch.num_rows
            reporter.rows(table, count)
            yield batch

    try:
        for name, type_ in session.reader.new_columns(table).items():
            reporter.new_column(table, name, type_)
        fits = _require_types(session, table, recreate=full_refresh)
        cursor_start = None if full_refresh else session.load_log.cursor_start(table)
        reporter.started(table, cursor_start)
        # Closed, or the session in PostgreSQL would outlive a failure, and with it its lock on the table.
        with closing(counted(session.reader.rows(table, cursor_start, session.started_at))) as rows:
            session.destination.write(table, rows, "merge", recreate=not fits)
        session.reader.check()
    except TableError as error:
        reporter.rejected(table, str(error))
        return False
    load = Load(table, session.started_at, datetime.now(UTC), cursor_start, session.watermark, count)
    session.load_log.record(load)
    reporter.finished(load)
    return True


def _require_types(session: Session, table: Table, *, recreate: bool) -> bool:
    """Whether RAW has the contract's types. Raises TableError if not, and the table isn't to be made anew."""
    fits = session.destination.fits(table)
    if not fits and not recreate:
        raise TableError(
            f"{table}: RAW has it with other types than {table.file}; "
            f"`meshflow load --full-refresh --only {table}` makes it anew"
        )
    return fits
