"""Processes that die by SIGKILL, at a moment or before a statement."""

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, Literal

import psycopg
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from sqlmesh.core.engine_adapter.base import EngineAdapter

FORK = multiprocessing.get_context("fork")
"""A child has everything imported, and the project loaded, within milliseconds; it opens connections of its own."""


@dataclass(frozen=True)
class Cost:
    """What an operation takes that is left alone."""

    seconds: float
    statements: int


@dataclass(frozen=True)
class Kill:
    """SIGKILL from outside after a share of the usual seconds, or from inside before a share of the usual statements."""

    unit: Literal["seconds", "statements"]
    share: float


class Attempt:
    """An operation that has been started in a process of its own and may be killed there."""

    def __init__(
        self, name: str, operation: Callable[[], None], log: Path, usual: Cost | None = None, kill: Kill | None = None
    ) -> None:
        self.name, self.log = name, log
        last = int(kill.share * usual.statements) if kill and usual and kill.unit == "statements" else None
        self._dies_after = kill.share * usual.seconds if kill and usual and kill.unit == "seconds" else None
        self._statements: Synchronized[int] = FORK.Value("i", 0)
        self._seconds: Synchronized[float] = FORK.Value("d", 0.0)
        self._process = FORK.Process(target=self._work, args=(operation, last))
        self._process.start()
        self._started = time.monotonic()

    def _work(self, operation: Callable[[], None], last: int | None) -> None:
        sys.stdout = sys.stderr = self.log.open("w", buffering=1)
        for stream in (1, 2):
            os.dup2(sys.stdout.fileno(), stream)
        logging.basicConfig(level=logging.WARNING, force=True)
        _count_statements(self._statements, last)
        started = time.monotonic()
        operation()
        self._seconds.value = time.monotonic() - started

    @property
    def death(self) -> list[tuple[float, Callable[[], None]]]:
        """When it is to be killed from outside, in seconds from its start, and how."""
        return [] if self._dies_after is None else [(self._dies_after, self._process.kill)]

    def wait(self) -> None:
        self._process.join()

    @property
    def succeeded(self) -> bool:
        return self._process.exitcode == 0

    @property
    def failed(self) -> bool:
        """Ended by itself, badly."""
        return self._process.exitcode not in (0, -signal.SIGKILL)

    @property
    def killed_at_work(self) -> bool:
        """Killed, and after its first statement."""
        return self._process.exitcode == -signal.SIGKILL and self._statements.value > 0

    @property
    def cost(self) -> Cost:
        return Cost(self._seconds.value, self._statements.value)

    def __str__(self) -> str:
        ended = "succeeded" if self.succeeded else "failed" if self.failed else "was killed"
        return f"{self.name} {ended} after {self._statements.value} statements"


def finish(attempts: Sequence[Attempt], meanwhile: Sequence[tuple[float, Callable[[], None]]] = ()) -> None:
    """Wait for the attempts, just started; kill those that are to be killed, and do what else is due `meanwhile`.

    Both are due a number of seconds from now.
    """
    started = time.monotonic()
    due = [*meanwhile, *(death for attempt in attempts for death in attempt.death)]
    for seconds, act in sorted(due, key=lambda at: at[0]):
        time.sleep(max(0.0, started + seconds - time.monotonic()))
        act()
    for attempt in attempts:
        attempt.wait()


def _count_statements(statements: "Synchronized[int]", last: int | None) -> None:
    """Count the statements to PostgreSQL, RAW and warehouse, those of dlt and SQLMesh too; die after the one numbered `last`.

    That is before the next one: dlt and SQLMesh have no time in between to commit, or have done it.
    """

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **options: Any) -> Any:
            if statements.value == last:
                os.kill(os.getpid(), signal.SIGKILL)
            statements.value += 1
            return method(*args, **options)

        return count

    psycopg.Connection.execute = counted(psycopg.Connection.execute)
    DuckDbSqlClient.execute_query = counted(DuckDbSqlClient.execute_query)
    EngineAdapter._execute = counted(EngineAdapter._execute)  # noqa: SLF001
