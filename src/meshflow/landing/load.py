"""A load: whatever the applications have written since the last one, merged into RAW by key."""

import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from meshflow.landing.contract import Table, contract, landed
from meshflow.landing.destination import Destination, open_destination
from meshflow.landing.ledger import Ledger, Load
from meshflow.landing.reader import Reader, TableError


class Watcher(Protocol):
    """Whom a load tells what happens, as it happens."""

    def waiting(self, message: str) -> None: ...
    def locked(self, holder: str) -> None: ...
    def started(self, table: Table, read_from: datetime | None) -> None: ...
    def rows(self, table: Table, count: int) -> None: ...
    def new_column(self, table: Table, name: str, type_: str) -> None: ...
    def finished(self, load: Load) -> None: ...
    def refused(self, table: Table, message: str) -> None: ...


@dataclass(frozen=True)
class Session:
    """The right to load, and both ends of it."""

    reader: Reader
    destination: Destination
    ledger: Ledger
    tables: list[Table]
    started_at: datetime
    read_until: datetime | None


@contextmanager
def session(  # noqa: PLR0913 - both ends, and how to meet them
    url: str, gateway: str, data: Path, wait: float, watcher: Watcher, *, at: datetime | None = None
) -> Iterator[Session | None]:
    """Hold the lock, the destination and a snapshot of the applications; None if another load holds the lock.

    The load starts now, or is taken to start `at`: SQLMesh processes its rows in the interval in which it started.
    Raises click.ClickException if either end can't be reached.
    """
    tables = contract()
    with Reader.open(url) as reader:
        place = f"{gateway} {socket.gethostname()} {data.resolve()}" if gateway == "landed" else gateway
        if holder := reader.lock(place):
            watcher.locked(holder)
            yield None
            return
        with open_destination(gateway, data, wait, watcher.waiting) as destination:
            ledger = Ledger(destination, tables)
            # The start comes before the snapshot: a row that this load misses lands with a later one.
            started_at = ledger.next_start(at or datetime.now(UTC))
            yield Session(reader, destination, ledger, landed(tables), started_at, reader.take_snapshot())


def land(session: Session, watcher: Watcher, *, only: Iterable[str] = (), full_refresh: bool = False) -> bool:
    """Land the tables named by `only`, or all; what is new, or everything. Returns whether all of them have landed.

    A table that can't be landed is refused alone. Raises click.ClickException if either end fails: tables before that
    have landed, the others are as they were.
    """
    wanted = set(only)
    tables = [table for table in session.tables if not wanted or str(table) in wanted]
    outcomes = [_land(session, table, watcher, full_refresh=full_refresh) for table in tables]
    return all(outcomes)


def _land(session: Session, table: Table, watcher: Watcher, *, full_refresh: bool) -> bool:
    count = 0

    def counted(batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        nonlocal count
        for batch in batches:
            count += batch.num_rows
            watcher.rows(table, count)
            yield batch

    try:
        for name, type_ in session.reader.new_columns(table).items():
            watcher.new_column(table, name, type_)
        fits = _require_types(session, table, make_anew=full_refresh)
        read_from = None if full_refresh else session.ledger.read_from(table)
        watcher.started(table, read_from)
        # Closed, or the session in PostgreSQL would outlive a failure, and with it its lock on the table.
        with closing(counted(session.reader.rows(table, read_from, session.started_at))) as rows:
            session.destination.write(table, rows, "merge", make_anew=not fits)
        session.reader.check()
    except TableError as error:
        watcher.refused(table, str(error))
        return False
    load = Load(table, session.started_at, datetime.now(UTC), read_from, session.read_until, count)
    session.ledger.record(load)
    watcher.finished(load)
    return True


def _require_types(session: Session, table: Table, *, make_anew: bool) -> bool:
    """Whether RAW has the contract's types. Raises TableError if not, and the table isn't to be made anew."""
    fits = session.destination.fits(table)
    if not fits and not make_anew:
        raise TableError(
            f"{table}: RAW has it with other types than {table.file}; "
            f"`meshflow land --full-refresh --only {table}` makes it anew"
        )
    return fits
