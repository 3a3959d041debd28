"""The pipeline on real parts: sources in PostgreSQL, loads into DuckDB, SQLMesh with its state in PostgreSQL."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import psycopg
import workspace
from figures import raw_differences, served_differences
from killable import Attempt, Cost, Due, Kill, finish
from sources import Sources
from sqlmesh.core.context import Context

from meshflow.loading.load import load_tables, session
from meshflow.loading.report import JsonReporter
from meshflow.source.traffic import write_batch

PATIENCE = 60
"""Seconds that a load waits for a run to leave RAW, or for PostgreSQL to notice that another load has been killed."""

DELETION = "deleted_at = CASE WHEN deleted_at IS NULL THEN clock_timestamp() END"
CORRECTIONS = {
    "retail.sales": (
        "quantity = %(random)s %% 5 - 1",
        "price = %(random)s %% 2000 * 0.05",
        "discount = %(random)s %% 23 * 0.05",
        "shipping_cost = nullif(%(random)s %% 20, 0) * 0.95",
        "customer_id = nullif(%(random)s %% 4, 0)",
        "city = 'Málaga', province = NULL, country = 'España'",
        DELETION,
    ),
    "edtech.students": (
        "first_name = nullif(%(random)s %% 3, 0)::text, last_name = NULL",
        "enrollment_date = enrollment_date - 40",
        DELETION,
    ),
    "edtech.courses": ("credits = %(random)s %% 7", DELETION),
    "edtech.enrollments": (
        "student_id = student_id + 1",
        "enrollment_date = enrollment_date - %(random)s %% 400",
        DELETION,
    ),
}
"""In and out of what is rejected, deleted and not deleted after all. An order's date never changes."""


def correct(connection: psycopg.Connection, random: Random) -> None:
    """Correct some rows of every table, none that another open transaction has written; the caller commits."""
    for table, corrections in CORRECTIONS.items():
        connection.execute(
            f"UPDATE {table} SET {random.choice(corrections)} WHERE ctid = ANY (ARRAY("
            f"SELECT ctid FROM {table} ORDER BY md5(ctid::text || %(random)s) LIMIT %(size)s FOR UPDATE SKIP LOCKED))",
            {"random": random.randrange(10**6), "size": random.randint(1, 8)},
        )


@dataclass
class Pipeline:
    """Its operations, each of which runs in a process of its own that may be killed there."""

    sources: Sources
    workspace: workspace.Workspace
    logs: Path
    clock: datetime = field(default_factory=lambda: datetime.now(UTC))
    """What loads and runs take for now. It is moved on by minutes, so nobody waits for them to pass."""
    context: Context | None = None
    """The project, loaded once for all runs."""
    usual: dict[str, Cost] = field(default_factory=dict)
    """Of each operation."""
    kills: Counter[str] = field(default_factory=Counter)
    """Of each operation, those that were killed at work."""
    transactions: list[psycopg.Connection] = field(default_factory=list)
    """Of the sources, those that have written and haven't ended."""

    def generate(self, seed: int) -> None:
        with psycopg.connect(self.sources.url) as connection:
            for batch in range(3):
                random = np.random.default_rng([seed, batch])
                write_batch(connection, random, sales=60, fault_rate=0.2, now=datetime.now(UTC), days=60)
                connection.commit()

    def load(self, at: datetime) -> None:
        os.chdir(self.workspace.path)
        url, reporter = self.sources.loader_url, JsonReporter()
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            with session(url, "live", self.workspace.data, PATIENCE, reporter, at=at) as opened:
                if opened:
                    assert load_tables(opened, reporter)
                    return
            time.sleep(0.1)
        raise TimeoutError

    def run(self, at: datetime) -> None:
        assert self.context
        workspace.run(self.context, at)

    def start(
        self, operation: Callable[..., None], argument: object, kill: Kill | None = None, delay: float = 0
    ) -> Attempt:
        log = self.logs / f"{len(list(self.logs.iterdir())):04}_{operation.__name__}.log"
        log.touch()
        return Attempt(operation.__name__, partial(operation, argument), log, kill or Kill(), delay)

    def finish(self, attempts: Sequence[Attempt], meanwhile: Sequence[Due] = ()) -> None:
        """Let attempts that have just been started end, well or by being killed; do `meanwhile` what is due."""
        finish(attempts, meanwhile)
        for attempt in attempts:
            print(attempt)  # noqa: T201 - pytest shows it with what failed
            self.kills[attempt.name] += attempt.was_killed_at_work
            said = attempt.log.read_text()
            was_kept_out = "Could not set lock" in said and {other.name for other in attempts} == {"load", "run"}
            assert attempt.succeeded or attempt.was_killed or was_kept_out, said[-4000:]

    def finish_undisturbed(self, operation: Callable[..., None], argument: object) -> None:
        attempt = self.start(operation, argument)
        self.finish([attempt])
        assert attempt.succeeded
        self.usual[attempt.name] = attempt.cost

    def differences(self) -> list[str]:
        """Where RAW, facts and revenue aren't what the source makes them, after one more load and one more run."""
        # When the next interval begins, those before it are done once this load is.
        self.clock += timedelta(minutes=5) - timedelta(seconds=self.clock.timestamp() % 300)
        self.finish_undisturbed(self.load, self.clock)
        self.finish_undisturbed(self.run, self.clock)
        url, data = self.sources.url, self.workspace.data
        return raw_differences(url, data) + served_differences(url, data)
