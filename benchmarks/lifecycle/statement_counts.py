"""Count statements, and the rows they write, at DuckDB's driver, whichever client sends them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from unittest.mock import patch

import duckdb

WRITE = re.compile(r"\s*(/\*.*?\*/\s*)*(CREATE|INSERT|MERGE|UPDATE|DELETE)\b", re.IGNORECASE | re.DOTALL)


@dataclass
class Counts:
    statements: int = 0
    duckdb_seconds: float = 0
    """Until DuckDB returns its result; the rest of a step's time is the tool's own."""
    rows_written: int = 0
    """Inserted, updated and deleted, as DuckDB counts them, seeds and dry runs included."""


class _Cursor:
    """A connection or cursor of DuckDB that counts what it executes."""

    def __init__(self, inner: duckdb.DuckDBPyConnection, counts: Counts) -> None:
        self._inner, self._counts = inner, counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def cursor(self) -> "_Cursor":
        return _Cursor(self._inner.cursor(), self._counts)

    def execute(self, query: Any, parameters: Any = None) -> "_Cursor":
        started = perf_counter()
        self._inner.execute(query, parameters)
        self._counts.duckdb_seconds += perf_counter() - started
        self._counts.statements += 1
        columns = [name for name, *_ in self._inner.description or ()]
        if isinstance(query, str) and WRITE.match(query) and columns == ["Count"]:
            # Neither SQLMesh nor dbt fetches this figure. A table created without rows has none.
            self._counts.rows_written += sum(rows for (rows,) in self._inner.fetchall())
        return self


@contextmanager
def count_statements() -> Iterator[Counts]:
    """Count what connections execute that are opened in the block, and close them at its end.

    Closing writes what is still to be written to the file. SQLMesh and dbt leave that to the end of the process.
    """
    counts, connect = Counts(), duckdb.connect
    opened: list[duckdb.DuckDBPyConnection] = []

    def counting(*arguments: Any, **options: Any) -> _Cursor:
        opened.append(connect(*arguments, **options))
        return _Cursor(opened[-1], counts)

    with patch.object(duckdb, "connect", counting):
        yield counts
    for connection in opened:
        connection.close()
