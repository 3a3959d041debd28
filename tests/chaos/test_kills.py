"""Whatever is killed wherever: after one more load and one more run nothing is lost, doubled or off by a cent.

PostgreSQL, loads, SQLMesh with its models and its state are real; so is SIGKILL. Only the clock isn't: loads and runs
are told what time it is, so that intervals pass without waiting.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

import psycopg
import pytest
from killable import Kill
from pipeline import Pipeline, correct
from sources import Sources, new_state
from workspace import Workspace, plan

from meshflow.source.server import Server

pytestmark = pytest.mark.usefixtures("no_margins")

STORIES = 10


@pytest.fixture(scope="module")
def pipeline(project: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The whole project, in prod on gateway `live`, with a few rows."""
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("pipeline"), new_state(postgres))
    for entity in ("edtech__students", "edtech__courses", "edtech__enrollments", "retail__sales"):
        # All deletions of all stories fall on one day; whether so many are plausible is not asked here.
        workspace.edit(f"models/intermediate/int_{entity}_checked.sql", "max_drop_rate := 0.2", "max_drop_rate := 1")
    for entity in ("student", "course"):
        # They compare updated_at, by the server's real clock, with the time of a run, which is made up here.
        (workspace.path / f"models/history/hist_{entity}.sql").unlink()
    pipeline = Pipeline(Sources.new(postgres), workspace, tmp_path_factory.mktemp("logs"))
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


@pytest.mark.parametrize("seed", range(STORIES))
def test_raw_facts_and_revenue_equal_the_source_whatever_was_killed(pipeline: Pipeline, seed: int) -> None:
    """Each story goes on with the rows of the last, every other one with its open transactions too."""
    random = Random(seed)  # noqa: S311
    if seed % 2:
        while pipeline.transactions:
            end(pipeline, random)
    rounds = [kills_in_a_load, kills_in_a_run, *[a_load_beside_a_run] * (seed % 2)]
    random.shuffle(rounds)
    for kills in rounds:
        kills(pipeline, random)
    assert pipeline.differences() == []


def kills_in_a_load(pipeline: Pipeline, random: Random) -> None:
    """While others write: in transactions that were open before, and in batches that may be killed too."""
    pipeline.clock += timedelta(minutes=random.randint(1, 9))
    with psycopg.connect(pipeline.sources.url) as connection:
        correct(connection, random)
    for _ in range(random.randint(0, 2)):
        pipeline.transactions.append(psycopg.connect(pipeline.sources.url))
        correct(pipeline.transactions[-1], random)
    attempts = [pipeline.start(pipeline.load, pipeline.clock, perhaps_a_kill(pipeline, "load", random))]
    if random.random() < 0.2:
        attempts.append(pipeline.start(pipeline.load, pipeline.clock, perhaps_a_kill(pipeline, "load", random)))
    if random.random() < 0.6:
        kill = perhaps_a_kill(pipeline, "generate", random)
        attempts.append(pipeline.start(pipeline.generate, random.randrange(10**6), kill))
    seconds = pipeline.usual["load"].seconds
    ends = [(random.uniform(0, seconds), partial(end, pipeline, random)) for _ in range(random.randint(0, 3))]
    pipeline.finish(attempts, ends)


def kills_in_a_run(pipeline: Pipeline, random: Random) -> None:
    """After two loads: the second completes the interval in which the first one loaded what the run has to see."""
    with psycopg.connect(pipeline.sources.url) as connection:
        correct(connection, random)
    for _ in range(2):
        pipeline.clock += timedelta(minutes=random.randint(5, 9))
        pipeline.finish_undisturbed(pipeline.load, pipeline.clock)
    pipeline.clock += timedelta(minutes=random.randint(0, 9))
    pipeline.finish([pipeline.start(pipeline.run, pipeline.clock, perhaps_a_kill(pipeline, "run", random))])


def a_load_beside_a_run(pipeline: Pipeline, random: Random) -> None:
    """The load began before the intervals that the run may take to have ended, and ends in its midst or after it."""
    pipeline.finish_undisturbed(pipeline.load, pipeline.clock)
    with psycopg.connect(pipeline.sources.url) as connection:
        correct(connection, random)
    began_at = pipeline.clock
    pipeline.clock += timedelta(minutes=random.randint(5, 9))
    kill = random.choice([Kill(), perhaps_a_kill(pipeline, "load", random)])
    delay = random.uniform(0, pipeline.usual["run"].seconds)
    pipeline.finish(
        [pipeline.start(pipeline.run, pipeline.clock), pipeline.start(pipeline.load, began_at, kill, delay=delay)]
    )


def end(pipeline: Pipeline, random: Random) -> None:
    """Write more in one of the open transactions, then commit it or, sometimes, roll back."""
    if pipeline.transactions:
        connection = pipeline.transactions.pop(random.randrange(len(pipeline.transactions)))
        correct(connection, random)
        random.choice([connection.commit, connection.commit, connection.rollback])()
        connection.close()


def perhaps_a_kill(pipeline: Pipeline, operation: str, random: Random) -> Kill:
    """Three times of four, anywhere in the operation, or a little later than it usually takes."""
    if random.random() < 0.25:
        return Kill()
    return pipeline.usual[operation].share(random.uniform(0, 1.1), random.choice(["seconds", "statements"]))


def test_batches_loads_and_runs_were_killed_at_work(pipeline: Pipeline) -> None:
    """In the stories above, which otherwise prove nothing."""
    assert pipeline.kills["generate"] > 0
    assert pipeline.kills["load"] > STORIES / 2
    assert pipeline.kills["run"] > STORIES / 2
