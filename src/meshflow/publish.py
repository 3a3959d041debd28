"""Publish the marts as a snapshot that dashboards read, so that they never open the database that SQLMesh writes.

DuckDB lets one process write or several read. A dashboard that had the warehouse open, even briefly, would make a plan
that starts meanwhile fail. So nothing here opens it: its bytes are copied, and only while no process is writing it.
A snapshot here is a file; SQLMesh's snapshots are versions of models.
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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from shutil import copyfile

import click
import duckdb
from sqlglot import exp

MONTH_COLUMNS = tuple(f"{month.lower()}_enrollment_count" for month in calendar.month_name[1:])
"""The count columns of edtech.rpt_course_enrollments_by_month, January first."""

SERVED = {
    "edtech.dim_course": ("course_id", "course_name", "credits", "course_level", "course_status"),
    "edtech.dim_student": ("student_id", "enrollment_date"),
    "edtech.fct_enrollment": ("enrollment_id", "course_id", "student_id", "enrollment_date", "_loaded_at"),
    "edtech.rpt_course_enrollments_by_month": ("course_id", "course_name", "enrollment_year", *MONTH_COLUMNS),
    "edtech.rpt_student_credits": ("total_credit_count",),
    "edtech.rpt_student_enrollment_running_total": ("course_id", "enrollment_date"),
    "edtech.rpt_students_by_age_band": ("age_band", "age_from", "student_count"),
    "ops.audit_results": (
        "run_id", "model", "audit", "arguments", "status", "is_blocking", "row_count", "query",
    ),
    "ops.failing_models": (
        "environment", "model", "failing_since", "failed_run_count", "run_id", "error_class", "audits", "row_count",
    ),
    "ops.loads": ("source_table", "started_at", "status", "error_class", "row_count", "duration_seconds"),
    "ops.model_freshness": ("environment", "model", "processed_until", "late_at", "laggard", "failed_models"),
    "ops.model_runs": (
        "run_id", "model", "status", "error_class", "because_of", "duration_seconds", "interval_count",
        "interval_start_at", "interval_end_at", "row_count",
    ),
    "ops.rejected_rows": ("source_table", "updated_date", "reject_reason", "remedy", "rejected_count"),
    "ops.row_reconciliation": (
        "source_table", "updated_date", "loaded_count", "accepted_count", "deleted_count", "rejected_count",
        "missing_count",
    ),
    "ops.runs": (
        "run_id", "environment", "command", "git_commit", "started_at", "ended_at", "duration_seconds", "usual_seconds",
        "status", "error_class", "failed_models", "succeeded_model_count", "failed_model_count",
        "skipped_model_count", "warned_audit_count",
    ),
    "ops.source_reconciliation": (
        "source_table", "source_count", "raw_count", "missing_in_raw_count", "missing_in_source_count", "is_equal",
        "missing_count", "counted_at",
    ),
    "ops.table_freshness": (
        "source_table", "row_count", "active_row_count", "last_updated_at", "last_loaded_at", "days_since_loaded",
    ),
    "retail.dim_customer": ("customer_id", "first_order_date"),
    "retail.dim_product": ("product_id", "product_name", "product_category"),
    "retail.fct_sales": (
        "order_id", "product_id", "customer_id", "location_id", "order_date", "quantity", "total_revenue_amount",
        "total_discount_amount", "net_revenue_amount", "_loaded_at",
    ),
    "shared.dim_date": ("date_day", "month_start_date"),
    "shared.dim_location": ("location_id", "city", "province", "country"),
}  # fmt: skip
"""Columns that dashboards read, by table: a snapshot has no others. Persons are numbers without names."""

_LAYOUT_HASH = sha256(repr(SERVED).encode()).hexdigest()[:8]
"""Part of a snapshot's name: a snapshot with other columns is outdated."""

_ABANDONED_AFTER_SECONDS = 3600
"""Age from which an incomplete copy belongs to a killed process. It is as large as the warehouse."""

_FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi"
"""struct flock: start, length, pid, type and whence on macOS; type, whence, start, length and pid on Linux."""

_publishing = threading.Lock()


class WarehouseBusyError(Exception):
    """Another process has the warehouse open for writing, or wrote it while it was being copied."""


@dataclass(frozen=True)
class Snapshot:
    """An immutable file with the served tables of every environment."""

    path: Path
    written_at: datetime
    """When the warehouse was last written before it was copied, UTC."""


def publish(warehouse: Path, folder: Path) -> Snapshot:
    """Write the served tables of `warehouse` to a snapshot in `folder`, unless the newest one there is up to date.

    It is until the warehouse is written, and until the day is over in UTC: ages and statuses depend on the date.
    A snapshot gets a name of its own once it is complete; the previous one stays for its readers.
    Raises WarehouseBusyError if a process has the warehouse open for writing, click.ClickException if it can't be read
    or copied. Don't call it in a process that has the warehouse open: closing a file drops the process's locks on it.
    """
    with _clear_errors(warehouse, folder), _publishing:
        return _publish(warehouse, folder)


def copy(warehouse: Path, folder: Path) -> Path:
    """Copy the warehouse's file to `folder`, and return its path. Raises what publish() raises, which see."""
    with _clear_errors(warehouse, folder):
        copied = folder / "copied.duckdb"
        _copy(warehouse, copied, _state(warehouse))
        return copied


@contextmanager
def _clear_errors(warehouse: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:  # DuckDB removes its WAL when a process closes the database
        raise WarehouseBusyError from None
    except duckdb.Error as error:
        raise click.ClickException(f"The warehouse {warehouse} can't be read: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise click.ClickException(f"The warehouse {warehouse} can't be copied to {folder}: {error.strerror}") from None


def _publish(warehouse: Path, folder: Path) -> Snapshot:
    state = _state(warehouse)
    written, today = max(written for written, _, _ in state), datetime.now(UTC).date()
    target = folder / f"{warehouse.stem}.{written}-{today:%Y%m%d}-{_LAYOUT_HASH}.duckdb"
    if not target.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for abandoned in folder.glob(".*"):
            if time.time() - _modified_at(abandoned) / 1e9 > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
            copied = Path(temporary, "copied.duckdb")
            _copy(warehouse, copied, state)
            served = Path(temporary, "served.duckdb")
            _extract(copied, served)
            served.replace(target)
    target.touch()  # the newest snapshot, even if an older warehouse was restored
    for outdated in _snapshots(warehouse, folder)[:-2]:
        outdated.unlink(missing_ok=True)
    return _snapshot(target)


def latest(warehouse: Path, folder: Path) -> Snapshot | None:
    """The snapshot published last, of any age."""
    files = [file for file in _snapshots(warehouse, folder) if file.stem.endswith(_LAYOUT_HASH)]
    return _snapshot(files[-1]) if files else None


def _snapshots(warehouse: Path, folder: Path) -> list[Path]:
    """The files of all snapshots; the one published last comes last."""
    return sorted(folder.glob(f"{warehouse.stem}.*.duckdb"), key=_modified_at)


def _modified_at(file: Path) -> int:
    """Nanoseconds since 1970; 0 if the file is gone."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:  # another dashboard has just removed it
        return 0


def _snapshot(file: Path) -> Snapshot:
    """The first number in a snapshot's name is when the warehouse was last written, in nanoseconds since 1970."""
    written = int(file.suffixes[-2].removeprefix(".").partition("-")[0])
    return Snapshot(file, datetime.fromtimestamp(written / 1e9, UTC))


def _state(warehouse: Path) -> list[tuple[int, int, int]]:
    """What changes with every write: mtime in ns, size and inode of the database and, if there is one, of its WAL."""
    files = [file for file in (warehouse, _wal(warehouse)) if file.exists()]
    if warehouse not in files:
        raise click.ClickException(f"There is no warehouse {warehouse}: `sqlmesh plan prod` builds it")
    return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in (file.stat() for file in files)]


def _wal(database: Path) -> Path:
    """DuckDB's write-ahead log. A finished process leaves none, a killed one may."""
    return database.with_name(f"{database.name}.wal")


def _copy(warehouse: Path, copied: Path, state: list[tuple[int, int, int]]) -> None:
    """Copy the bytes. Raises WarehouseBusyError if a process had the warehouse open or has written it meanwhile.

    Reading bytes takes no lock, so a plan may start during the copy. If it has written by the end, `state` differs.
    """
    if _is_open(warehouse):
        raise WarehouseBusyError
    copyfile(warehouse, copied)
    if _wal(warehouse).exists():
        copyfile(_wal(warehouse), _wal(copied))
    if _state(warehouse) != state:
        raise WarehouseBusyError


def _is_open(warehouse: Path) -> bool:
    """Whether a process has the database open for writing. F_GETLK tests for a conflicting lock and takes none."""
    request = {"type": fcntl.F_RDLCK, "whence": os.SEEK_SET, "start": 0, "length": 0, "pid": 0}
    order = ("start", "length", "pid", "type", "whence") if _FLOCK == "qqihh" else tuple(request)
    with warehouse.open("rb") as file:
        response = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *(request[name] for name in order)))
    found = dict(zip(order, struct.unpack(_FLOCK, response), strict=True))
    return bool(found["type"] != fcntl.F_UNLCK)


def _extract(copied: Path, served: Path) -> None:
    """Write the served tables of every environment to the file `served`. DuckDB checks each block that it reads.

    A view that fails is left out, because it fails for every reader. Its environment then lacks the table.
    """
    with closing(duckdb.connect()) as connection:
        for file, name in ((copied, "ANALYTICS"), (served, "served")):  # views refer to tables in ANALYTICS
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
        connection.execute("DETACH served")  # writes the file, and raises an error if that fails
