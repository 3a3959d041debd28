"""Processes that SIGKILL ends, at a point in time or between two statements."""

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from sqlmesh.core.engine_adapter.base import EngineAdapter

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

FORK = multiprocessing.get_context("fork")
"""A forked child has all imports and the loaded project within milliseconds. It opens connections of its own."""

Due = tuple[float, Callable[[], None]]
"""Seconds from now, and what to do then."""


@dataclass(frozen=True)
class Kill:
    """SIGKILL from outside after some seconds, or from inside after some statements."""

    seconds: float | None = None
    statements: int | None = None


@dataclass(frozen=True)
class Cost:
    """What an operation takes when nothing disturbs it."""

    seconds: float
    statements: int

    def share(self, share: float, unit: str) -> Kill:
        """The kill after that share of its 'seconds' or of its 'statements'."""
        return (
            Kill(seconds=share * self.seconds) if unit == "seconds" else Kill(statements=int(share * self.statements))
        )


class Attempt:
    """An operation, started in a process of its own, `delay` seconds later. Its output goes to the file `log`."""

    def __init__(self, name: str, operation: Callable[[], None], log: Path, kill: Kill, delay: float) -> None:
        self.name, self.log, self.kill, self._delay = name, log, kill, delay
        self._statements: Synchronized[int] = FORK.Value("i", 0)
        self._seconds: Synchronized[float] = FORK.Value("d", 0.0)
        self._process = FORK.Process(target=self._work, args=(operation,))
        self._process.start()

    def _work(self, operation: Callable[[], None]) -> None:
        sys.stdout = sys.stderr = self.log.open("w", buffering=1)
        for stream in (1, 2):
            os.dup2(sys.stdout.fileno(), stream)
        logging.basicConfig(level=logging.WARNING, force=True)
        _count_statements(self._statements, self.kill.statements)
        time.sleep(self._delay)
        started = time.monotonic()
        operation()
        self._seconds.value = time.monotonic() - started

    @property
    def kills(self) -> list[Due]:
        return [] if self.kill.seconds is None else [(self._delay + self.kill.seconds, self._process.kill)]

    def wait(self) -> None:
        self._process.join()

    @property
    def was_killed(self) -> bool:
        return self._process.exitcode == -signal.SIGKILL

    @property
    def was_killed_midway(self) -> bool:
        return self.was_killed and self._statements.value > 0

    @property
    def succeeded(self) -> bool:
        return self._process.exitcode == 0

    @property
    def cost(self) -> Cost:
        return Cost(self._seconds.value, self._statements.value)

    def __str__(self) -> str:
        outcome = "was killed" if self.was_killed else "succeeded" if self.succeeded else "failed"
        return f"{self.name} {outcome} after {self._statements.value} statements: {self.log}"


def finish(attempts: Sequence[Attempt], meanwhile: Sequence[Due] = ()) -> None:
    """Wait for attempts that have just started. Kill those that are to be killed, and do what else is due."""
    started = time.monotonic()
    due = [*meanwhile, *(kill for attempt in attempts for kill in attempt.kills)]
    for seconds, act in sorted(due, key=lambda due: due[0]):
        time.sleep(max(0.0, started + seconds - time.monotonic()))
        act()
    for attempt in attempts:
        attempt.wait()


def _count_statements(statements: "Synchronized[int]", last: int | None) -> None:
    """Count the statements sent to PostgreSQL, RAW and warehouse, by dlt and SQLMesh too. SIGKILL after the `last`.

    Such a kill comes before or after a commit, never during one. Only a kill from outside can hit a commit.
    """

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **options: Any) -> Any:
            if statements.value == last:
                os.kill(os.getpid(), signal.SIGKILL)
            statements.value += 1
            return method(*args, **options)

        return count

    for owner, method in (
        (psycopg.Connection, "execute"),
        (DuckDbSqlClient, "execute_query"),
        (EngineAdapter, "_execute"),
    ):
        setattr(owner, method, counted(getattr(owner, method)))
