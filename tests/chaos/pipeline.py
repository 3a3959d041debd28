"""The pipeline with real parts: sources in PostgreSQL, loads into DuckDB, SQLMesh with its state in PostgreSQL."""

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
from figures import history_faults, raw_differences, served_differences
from killable import Attempt, Cost, Due, Kill, finish
from sources import SourceDatabase
from sqlmesh.core.context import Context

from meshflow.loading.load import load_tables, session
from meshflow.loading.report import JsonReporter
from meshflow.source.traffic import write_batch

LOCK_TIMEOUT_SECONDS = 60
"""How long a load waits until a run closes RAW, or until PostgreSQL notices that another load has been killed."""

IS_CLOCK_REAL = os.environ.get("MESHFLOW_CLOCK") == "real"
"""Whether loads, runs and sources share one clock: `make chaos-long`."""

DELETION = "deleted_at = CASE WHEN deleted_at IS NULL THEN clock_timestamp() END"
CORRECTIONS = {
    "retail.sales": (
        "quantity = %(random)s %% 5 - 1",
        "price = %(random)s %% 2000 * 0.05",
        "discount = %(random)s %% 23 * 0.05",
        "shipping_cost = nullif(%(random)s %% 20, 0) * 0.95",
        "customer_id = nullif(%(random)s %% 4, 0)",
        "city = 'Málaga', province = NULL, country = 'España'",
        "city = 'MALAGA ', province = E'\\t', country = 'Espan\u0303a'",
        "order_date_at = order_date_at - interval '1 day' * (%(random)s %% 90)",
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
"""They make rows invalid or valid again, move them to another day, and delete or restore them."""


def correct_rows(connection: psycopg.Connection, random: Random) -> None:
    """Correct some rows of every table, but none that another open transaction has written. The caller commits."""
    for table, corrections in CORRECTIONS.items():
        connection.execute(
            f"UPDATE {table} SET {random.choice(corrections)} WHERE ctid = ANY (ARRAY("
            f"SELECT ctid FROM {table} ORDER BY md5(ctid::text || %(random)s) LIMIT %(size)s FOR UPDATE SKIP LOCKED))",
            {"random": random.randrange(10**6), "size": random.randint(1, 8)},
        )


@dataclass
class Pipeline:
    """Batches of traffic, loads and runs. Each runs in a process of its own, which may be killed."""

    sources: SourceDatabase
    workspace: workspace.Workspace
    logs: Path
    skipped: timedelta = timedelta(0)
    """How far the clock of loads and runs is ahead of the sources', because tests don't wait."""
    context: Context | None = None
    """The project, loaded once for all runs."""
    costs: dict[str, Cost] = field(default_factory=dict)
    """By operation: what it takes undisturbed."""
    kills: Counter[str] = field(default_factory=Counter)
    """By operation: attempts that were killed midway."""
    transactions: list[psycopg.Connection] = field(default_factory=list)
    """Open transactions of the sources, all of which have written."""

    @property
    def clock(self) -> datetime:
        """The current time of loads and runs."""
        return datetime.now(UTC) + self.skipped

    def pass_time(self, time_span: timedelta) -> None:
        """Skip minutes, or wait for them if the clock shall be real."""
        if IS_CLOCK_REAL:
            time.sleep(time_span.total_seconds())
        else:
            self.skipped += time_span

    def generate(self, seed: int) -> None:
        with psycopg.connect(self.sources.url) as connection:
            for batch in range(3):
                random = np.random.default_rng([seed, batch])
                write_batch(connection, random, sales=60, fault_rate=0.2, now=datetime.now(UTC), days=60)
                connection.commit()

    def load(self, at: datetime) -> None:
        os.chdir(self.workspace.path)
        url, reporter = self.sources.loader_url, JsonReporter()
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with session(url, "live", self.workspace.data, LOCK_TIMEOUT_SECONDS, reporter, at=at) as opened:
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
        """Wait until attempts that have just started succeed or are killed. Do what is due `meanwhile`."""
        finish(attempts, meanwhile)
        for attempt in attempts:
            print(attempt)  # noqa: T201 - pytest shows it when the test fails
            self.kills[attempt.name] += attempt.was_killed_midway
            output = attempt.log.read_text()
            was_locked_out = "Could not set lock" in output and {other.name for other in attempts} == {"load", "run"}
            assert attempt.succeeded or attempt.was_killed or was_locked_out, output[-4000:]

    def finish_undisturbed(self, operation: Callable[..., None], argument: object) -> None:
        attempt = self.start(operation, argument)
        self.finish([attempt])
        assert attempt.succeeded
        self.costs[attempt.name] = attempt.cost

    def differences(self) -> list[str]:
        """Where RAW, facts and revenue differ from the sources, after one more load and one more run."""
        # The load starts with the next interval: when it is done, all intervals before that are complete.
        self.pass_time(timedelta(minutes=5) - timedelta(seconds=self.clock.timestamp() % 300))
        at = self.clock
        self.finish_undisturbed(self.load, at)
        self.finish_undisturbed(self.run, at)
        url, data = self.sources.url, self.workspace.data
        return raw_differences(url, data) + served_differences(url, data) + history_faults(data)
