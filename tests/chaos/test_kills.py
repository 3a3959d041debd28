"""After any kill, one more load and one more run leave no row lost or duplicated and no amount off by a cent.

PostgreSQL, the loads, SQLMesh with its models and state, and SIGKILL are real. Only the clock isn't: loads and runs
take the time as an argument, so intervals pass without waiting, and the sources' clock is behind. With
MESHFLOW_CLOCK=real, as in `make chaos-long`, all of them wait for the time to pass.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

import psycopg
import pytest
from killable import Kill
from pipeline import IS_CLOCK_REAL, Pipeline, correct_rows
from sources import SourceDatabase, new_state
from workspace import Workspace, plan

from meshflow.source.server import Server

pytestmark = pytest.mark.usefixtures("no_margins")

SCENARIOS = 2 if IS_CLOCK_REAL else 10
"""With a real clock a scenario takes half an hour."""


@pytest.fixture(scope="module")
def pipeline(project: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The project in prod on gateway `live`, with a few rows."""
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("pipeline"), new_state(postgres))
    for entity in ("edtech__students", "edtech__courses", "edtech__enrollments", "retail__sales"):
        # All scenarios delete rows on the same day: raise the max_rate of the audit max_deletion_rate.
        workspace.edit(f"models/staging/stg_{entity}.sql", "max_rate := 0.2", "max_rate := 1")
    pipeline = Pipeline(SourceDatabase.new(postgres), workspace, tmp_path_factory.mktemp("logs"))
    pipeline.finish_undisturbed(pipeline.generate, 0)
    pipeline.finish_undisturbed(pipeline.load, pipeline.clock)
    pipeline.context = workspace.context("live")
    plan(pipeline.context, "prod")
    pipeline.context.close()
    pipeline.finish_undisturbed(pipeline.generate, 1)
    assert pipeline.differences() == []
    yield pipeline
    for connection in pipeline.transactions:
        connection.close()


@pytest.mark.parametrize("seed", range(SCENARIOS))
def test_raw_facts_revenue_and_histories_equal_the_source_whatever_was_killed(pipeline: Pipeline, seed: int) -> None:
    """Each scenario continues with the rows of the one before, every other one with its open transactions too."""
    random = Random(seed)  # noqa: S311
    if seed % 2:
        while pipeline.transactions:
            end_a_transaction(pipeline, random)
    steps = [kill_loads, kill_a_run, *[load_during_a_run] * (seed % 2)]
    random.shuffle(steps)
    for step in steps:
        step(pipeline, random)
    assert pipeline.differences() == []


def kill_loads(pipeline: Pipeline, random: Random) -> None:
    """Kill loads while others write, in transactions opened before and in batches that may be killed too."""
    pipeline.pass_time(timedelta(minutes=random.randint(1, 9)))
    with psycopg.connect(pipeline.sources.url) as connection:
        correct_rows(connection, random)
    for _ in range(random.randint(0, 2)):
        pipeline.transactions.append(psycopg.connect(pipeline.sources.url))
        correct_rows(pipeline.transactions[-1], random)
    attempts = [pipeline.start(pipeline.load, pipeline.clock, random_kill(pipeline, "load", random))]
    if random.random() < 0.2:
        attempts.append(pipeline.start(pipeline.load, pipeline.clock, random_kill(pipeline, "load", random)))
    if random.random() < 0.6:
        kill = random_kill(pipeline, "generate", random)
        attempts.append(pipeline.start(pipeline.generate, random.randrange(10**6), kill))
    seconds = pipeline.costs["load"].seconds
    end = partial(end_a_transaction, pipeline, random)
    pipeline.finish(attempts, [(random.uniform(0, seconds), end) for _ in range(random.randint(0, 3))])


def kill_a_run(pipeline: Pipeline, random: Random) -> None:
    """Kill a run after two loads. The second completes the interval in which the first loaded the rows of the run."""
    with psycopg.connect(pipeline.sources.url) as connection:
        correct_rows(connection, random)
    for _ in range(2):
        pipeline.pass_time(timedelta(minutes=random.randint(5, 9)))
        pipeline.finish_undisturbed(pipeline.load, pipeline.clock)
    pipeline.pass_time(timedelta(minutes=random.randint(0, 9)))
    pipeline.finish([pipeline.start(pipeline.run, pipeline.clock, random_kill(pipeline, "run", random))])


def load_during_a_run(pipeline: Pipeline, random: Random) -> None:
    """Start a load in an interval that has ended for the run. The load ends during the run or after it."""
    pipeline.finish_undisturbed(pipeline.load, pipeline.clock)
    with psycopg.connect(pipeline.sources.url) as connection:
        correct_rows(connection, random)
    started_at = pipeline.clock
    pipeline.pass_time(timedelta(minutes=random.randint(5, 9)))
    kill = random.choice([Kill(), random_kill(pipeline, "load", random)])
    delay = random.uniform(0, pipeline.costs["run"].seconds)
    pipeline.finish(
        [pipeline.start(pipeline.run, pipeline.clock), pipeline.start(pipeline.load, started_at, kill, delay=delay)]
    )


def end_a_transaction(pipeline: Pipeline, random: Random) -> None:
    """Write more in one of the open transactions, then commit it, or roll it back one time in three."""
    if pipeline.transactions:
        connection = pipeline.transactions.pop(random.randrange(len(pipeline.transactions)))
        correct_rows(connection, random)
        random.choice([connection.commit, connection.commit, connection.rollback])()
        connection.close()


def random_kill(pipeline: Pipeline, operation: str, random: Random) -> Kill:
    """Three times in four, a kill anywhere in the operation, or a little after it usually ends."""
    if random.random() < 0.25:
        return Kill()
    return pipeline.costs[operation].share(random.uniform(0, 1.1), random.choice(["seconds", "statements"]))


def test_batches_loads_and_runs_were_killed_midway(pipeline: Pipeline) -> None:
    """Otherwise the scenarios above prove nothing."""
    assert pipeline.kills["generate"] > 0
    assert pipeline.kills["load"] > SCENARIOS / 2
    assert pipeline.kills["run"] > SCENARIOS / 2
