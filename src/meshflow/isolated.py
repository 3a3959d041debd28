"""Processes in which SQL that a person wrote is translated and run: meshflow.own_sql says what they can't do."""

import json
import subprocess
import sys
import threading
from datetime import date, time
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from meshflow import own_sql
from meshflow.own_sql import REJECTED, Translation

TIME_LIMIT_SECONDS = 60
"""A query that runs longer is stopped."""
PROCESSES = 2
"""At a time, for all sessions: each uses two threads and a gigabyte."""

_free = threading.BoundedSemaphore(PROCESSES)


@lru_cache(maxsize=200)  # each rerun of a page needs it
def translate(sql: str, environment: str, dialect: str, limit: int) -> Translation:
    """As own_sql.translate. Raises click.ClickException."""
    return Translation(**json.loads(_call("translate", sql, environment, dialect, limit)))


def run(file: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of columns and rows of a SELECT on a DuckDB file. Raises click.ClickException."""
    import pyarrow as pa  # noqa: PLC0415 - only the dashboards need it

    table = pa.ipc.open_stream(_call("run", str(file), sql)).read_all()
    columns = [[_plain(value) for value in column.to_pylist()] for column in table.columns]
    return table.column_names, list(zip(*columns, strict=True))


def _plain(value: Any) -> Any:
    """The value, or its text if pages and CSV have no form for it: a list, a struct, an interval, bytes."""
    return value if value is None or isinstance(value, str | int | float | Decimal | date | time) else str(value)


def _call(task: str, *arguments: Any) -> bytes:
    """The output of a task. Its arguments are on the standard input: a list of processes shows the others."""
    if not _free.acquire(timeout=TIME_LIMIT_SECONDS):
        raise click.ClickException("Other queries are running. Run yours again in a minute.")
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-I", "-X", "utf8", own_sql.__file__, task],
            input=json.dumps(arguments).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries write warnings with parts of the text
            check=False,
            env={},
            timeout=TIME_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise click.ClickException(f"The query was stopped after {TIME_LIMIT_SECONDS} s.") from None
    finally:
        _free.release()
    if done.returncode == REJECTED:
        raise click.ClickException(done.stdout.decode())
    if done.returncode:
        raise click.ClickException("The query needs more memory than it may have, or its process failed.")
    return done.stdout
