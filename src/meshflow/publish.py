"""The copy of the marts that dashboards read, so that they never open the database that SQLMesh writes.

DuckDB lets one process write or several read. A dashboard that had the warehouse open, even for a moment, would make a
plan that starts in that moment fail. So nothing here opens it: its bytes are copied, and only while nobody has it open.
"""

import calendar
import fcntl
import os
import shutil
import struct
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from shutil import copyfile

import click
import duckdb
from sqlglot import exp

MONTHS = tuple(f"{month.lower()}_enrollment_count" for month in calendar.month_name[1:])
"""The columns of edtech.rpt_course_enrollments_by_month that count, January first."""

SERVED = {
    "edtech.dim_course": ("course_id", "course_name", "course_level", "course_status"),
    "edtech.fct_enrollment": ("enrollment_id", "course_id", "student_id", "_loaded_at"),
    "edtech.rpt_course_enrollments_by_month": ("course_id", "course_name", "enrollment_year", *MONTHS),
    "edtech.rpt_student_credits": ("total_credit_count",),
    "edtech.rpt_student_enrollment_running_total": ("course_id", "enrollment_date"),
    "edtech.rpt_students_by_age_band": ("age_band", "age_from", "student_count"),
    "ops.rejected_rows": ("source_table", "updated_date", "reject_reason", "remedy", "rejected_count"),
    "ops.row_reconciliation": (
        "source_table", "updated_date", "loaded_count", "accepted_count", "deleted_count", "rejected_count",
        "missing_count",
    ),
    "ops.source_reconciliation": (
        "source_table", "source_count", "raw_count", "missing_in_raw_count", "missing_in_source_count", "is_equal", "missing_count",
        "counted_at",
    ),
    "ops.table_freshness": (
        "source_table", "row_count", "active_row_count", "last_updated_at", "last_loaded_at", "days_since_loaded",
    ),
    "retail.dim_product": ("product_id", "product_category"),
    "retail.fct_sales": (
        "order_id", "product_id", "location_id", "order_date", "total_discount_amount", "net_revenue_amount",
        "_loaded_at",
    ),
    "shared.dim_location": ("location_id", "city", "province", "country"),
}  # fmt: skip
"""What dashboards read, table by table, and all that a copy holds. No column names a person; students are numbers."""

_LAYOUT = sha256(repr(SERVED).encode()).hexdigest()[:8]
"""In a copy's name: one that holds other columns is no copy of today's."""

_ABANDONED = 3600
"""Seconds after which a copy that isn't complete is that of a killed process. It holds the whole warehouse."""

_FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi"
"""struct flock: start, length, pid, type and whence on macOS; type, whence, start, length and pid on Linux."""

_publishing = threading.Lock()


class WarehouseBusyError(Exception):
    """Another process has the warehouse open, or wrote it while it was being copied."""


@dataclass(frozen=True)
class Copy:
    """A file that nobody will write again, with the served tables of every environment."""

    path: Path
    written_at: datetime
    """When the warehouse was last written before it was copied, UTC."""


def publish(warehouse: Path, folder: Path) -> Copy:
    """Copy what `warehouse` serves into `folder`, unless the copy there is of its present state.

    The new copy appears under a name of its own when it is complete; the one before stays for who is reading it.
    Raises Busy if a process has the warehouse open for writing, click.ClickException if it can't be read or copied.
    Don't call it from a process that has it open: closing a file drops the locks of the process on it.
    """
    try:
        with _publishing:
            return _publish(warehouse, folder)
    except FileNotFoundError:  # DuckDB removes its log when a process closes the database
        raise WarehouseBusyError from None
    except OSError as error:
        raise click.ClickException(f"The warehouse {warehouse} can't be copied to {folder}: {error.strerror}") from None


def _publish(warehouse: Path, folder: Path) -> Copy:
    state = _state(warehouse)
    target = folder / f"{warehouse.stem}.{max(written for written, _, _ in state)}-{_LAYOUT}.duckdb"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob(".*"):
            if time.time() - _modified_at(abandoned) / 1e9 > _ABANDONED:
                shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
            copied = Path(temporary, "copied.duckdb")
            _copy(warehouse, copied, state)
            served = Path(temporary, "served.duckdb")
            _extract(copied, served)
            served.replace(target)
    target.touch()  # the newest of the copies, even if an older warehouse was restored
    for outdated in _copies(warehouse, folder)[:-2]:
        outdated.unlink(missing_ok=True)
    return _described(target)


def latest(warehouse: Path, folder: Path) -> Copy | None:
    """The newest copy that was published, of whatever age."""
    copies = [copy for copy in _copies(warehouse, folder) if copy.stem.endswith(_LAYOUT)]
    return _described(copies[-1]) if copies else None


def _copies(warehouse: Path, folder: Path) -> list[Path]:
    """Those that were current last stand last."""
    return sorted(folder.glob(f"{warehouse.stem}.*.duckdb"), key=_modified_at)


def _modified_at(copy: Path) -> int:
    try:
        return copy.stat().st_mtime_ns
    except FileNotFoundError:  # another dashboard has just removed it
        return 0


def _described(copy: Path) -> Copy:
    """The number in a copy's name is the nanosecond in which the warehouse was last written."""
    written = int(copy.suffixes[-2].removeprefix(".").partition("-")[0])
    return Copy(copy, datetime.fromtimestamp(written / 1e9, UTC))


def _state(warehouse: Path) -> list[tuple[int, int, int]]:
    """What changes with every write: time, size and identity of the database and, if there is one, of its log."""
    files = [file for file in (warehouse, _log(warehouse)) if file.exists()]
    if warehouse not in files:
        raise click.ClickException(f"There is no warehouse {warehouse} yet")
    return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in (file.stat() for file in files)]


def _log(database: Path) -> Path:
    """Where DuckDB keeps what isn't in the database yet. A finished process leaves none, a killed one may."""
    return database.with_name(f"{database.name}.wal")


def _copy(warehouse: Path, copied: Path, state: list[tuple[int, int, int]]) -> None:
    """Copy the bytes; raises Busy unless they are those of one moment, in which nobody was at work.

    Reading bytes takes no lock, so a plan may start meanwhile. If it has written by the end, the times differ.
    """
    if _is_open(warehouse):
        raise WarehouseBusyError
    copyfile(warehouse, copied)
    if _log(warehouse).exists():
        copyfile(_log(warehouse), _log(copied))
    if _state(warehouse) != state:
        raise WarehouseBusyError


def _is_open(warehouse: Path) -> bool:
    """Whether a process has the database open for writing. Asks for the lock that would conflict, and takes none."""
    question = {"type": fcntl.F_RDLCK, "whence": os.SEEK_SET, "start": 0, "length": 0, "pid": 0}
    order = ("start", "length", "pid", "type", "whence") if _FLOCK == "qqihh" else tuple(question)
    with warehouse.open("rb") as file:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *(question[name] for name in order)))
    found = dict(zip(order, struct.unpack(_FLOCK, answer), strict=True))
    return bool(found["type"] != fcntl.F_UNLCK)


def _extract(copied: Path, served: Path) -> None:
    """Write the served tables of every environment to a file of their own. DuckDB checks each block that it reads.

    A view that fails is left out, as it would fail everybody who reads it: its environment lacks the table then.
    """
    try:
        with closing(duckdb.connect()) as connection:
            for file, name in ((copied, "ANALYTICS"), (served, "served")):  # in the first, views look for their tables
                connection.execute(f"ATTACH {exp.Literal.string(str(file)).sql(dialect='duckdb')} AS {name}")
            views = connection.execute(
                "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'ANALYTICS' AND NOT internal"
            ).fetchall()
            for schema, view in views:
                columns = SERVED.get(f"{schema.partition('__')[0]}.{view}".lower())
                if not columns:
                    continue
                connection.execute(f'CREATE SCHEMA IF NOT EXISTS served."{schema.lower()}"')
                try:
                    connection.execute(
                        f'CREATE TABLE served."{schema.lower()}"."{view.lower()}" AS '  # noqa: S608 - names of views
                        f'SELECT {", ".join(columns)} FROM ANALYTICS."{schema}"."{view}"'
                    )
                except (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException):
                    raise
                except duckdb.Error:
                    continue
            connection.execute("DETACH served")  # writes it out, and says so if it can't
    except duckdb.Error as error:
        raise click.ClickException(f"A copy of the warehouse can't be read: {str(error).splitlines()[0]}") from None
