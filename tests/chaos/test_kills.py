"""Whatever is killed wherever: after one more load and one more run, nothing is lost, doubled or off by a cent.

PostgreSQL, loads, SQLMesh with all models, and its state are real; so is SIGKILL. Only the clock isn't: loads and runs
are told what time it is, so that intervals pass without waiting.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

import psycopg
import pytest
from applications import Applications, new_state
from figures import raw_differences
from killable import Kill
from pipeline import Pipeline, change
from workspace import Workspace, plan

from meshflow.landing import reader
from meshflow.source.server import Server

STORIES = 10


@pytest.fixture(scope="module")
def pipeline(project: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The whole project in prod on gateway `landed`, with a first batch landed."""
    root = tmp_path_factory.mktemp("pipeline")
    workspace = Workspace.copy_of(project, root, new_state(postgres))
    for entity in ("edtech__students", "edtech__courses", "edtech__enrollments", "retail__sales"):
        # Every story deletes rows, all on one day; whether that is plausible is not asked here.
        workspace.edit(f"models/intermediate/int_{entity}_checked.sql", "max_drop_rate := 0.2", "max_drop_rate := 1")
    for entity in ("student", "course"):
        # These compare updated_at, the server's real clock, with the time of the run, which is made up here.
        (workspace.path / "models" / "history" / f"hist_{entity}.sql").unlink()
    (root / "logs").mkdir()
    pipeline = Pipeline(Applications.new(postgres), workspace, root / "logs", datetime.now(UTC))
    with pytest.MonkeyPatch.context() as patch:
        # A minute's margin would hide what commits seconds late; here no clock is set back.
        patch.setattr(reader, "LAG", timedelta(milliseconds=100))
        # A run that is killed while it loads the state leaves no processes behind.
        patch.setattr("sqlmesh.core.constants.MAX_FORK_WORKERS", 1)
        pipeline.finish_undisturbed(pipeline.generate, 0)
        pipeline.finish_undisturbed(pipeline.land, pipeline.clock)
        pipeline.context = workspace.context("landed")
        plan(pipeline.context, "prod")
        pipeline.context.close()
        # By now the usual cost of a load is known; that of a run is taken from one that has something to do.
        pipeline.finish_undisturbed(pipeline.generate, 1)
        assert pipeline.differences() == []
        yield pipeline
        for connection in pipeline.open:
            connection.close()


@pytest.mark.parametrize("seed", range(STORIES))
def test_raw_facts_and_revenue_equal_the_source_whatever_was_killed(pipeline: Pipeline, seed: int) -> None:
    """The story is printed if it ends badly. Each one goes on with the rows and the open transactions of the last."""
    random = Random(seed)
    rounds = [kills_in_a_load, kills_in_a_run, *random.choices([kills_in_a_load, kills_in_a_run], k=seed % 2)]
    random.shuffle(rounds)
    for kills in rounds:
        kills(pipeline, random)
    assert pipeline.differences() == []


def kills_in_a_load(pipeline: Pipeline, random: Random) -> None:
    """While others write: in transactions that were open before, and in batches that may be killed too."""
    pipeline.clock += timedelta(minutes=random.randint(1, 9))
    while len(pipeline.open) < 3:
        pipeline.open.append(psycopg.connect(pipeline.applications.url))
        change(pipeline.open[-1], random)
    attempts = [pipeline.start(pipeline.land, pipeline.clock, any_kill(random))]
    if random.random() < 0.2:
        attempts.append(pipeline.start(pipeline.land, pipeline.clock, any_kill(random)))
    if random.random() < 0.6:
        attempts.append(pipeline.start(pipeline.generate, random.randrange(10**6), any_kill(random)))
    seconds = pipeline.usual["land"].seconds
    pipeline.finish(attempts, [(random.uniform(0, seconds), partial(go_on, pipeline, random)) for _ in range(3)])


def kills_in_a_run(pipeline: Pipeline, random: Random) -> None:
    """After a load, so that there is something to run; perhaps next to another load, which began before the run did."""
    pipeline.clock += timedelta(minutes=random.randint(5, 9))
    pipeline.finish_undisturbed(pipeline.land, pipeline.clock)
    landed_at = pipeline.clock
    pipeline.clock += timedelta(minutes=random.randint(0, 9))
    attempts = [pipeline.start(pipeline.run, pipeline.clock, any_kill(random))]
    if random.random() < 0.4:
        attempts.append(pipeline.start(pipeline.land, landed_at, any_kill(random)))
    pipeline.finish(attempts)


def go_on(pipeline: Pipeline, random: Random) -> None:
    """With one of the open transactions: change more, then commit, roll back, or leave it open."""
    if pipeline.open:
        connection = random.choice(pipeline.open)
        change(connection, random)
        if end := random.choice([connection.commit, connection.commit, connection.rollback, None]):
            end()
            pipeline.open.remove(connection)
            connection.close()


def any_kill(random: Random) -> Kill | None:
    """In three of four operations, somewhere in it or, now and then, too late."""
    if random.random() < 0.75:
        return Kill(random.choice(["seconds", "statements"]), random.uniform(0, 1.1))
    return None


def test_batches_loads_and_runs_were_hit_at_work(pipeline: Pipeline) -> None:
    """Or the tests above prove nothing."""
    print(pipeline.kills)
    assert pipeline.kills["generate"] > 0
    assert pipeline.kills["land"] > STORIES / 2
    assert pipeline.kills["run"] > STORIES / 2
    assert 0


def test_a_load_killed_before_any_of_its_statements_is_made_good_by_the_next(
    pipeline: Pipeline, project: Path, tmp_path: Path
) -> None:
    """From the very first load on, which makes the tables; the source goes on in between."""
    (tmp_path / "logs").mkdir()
    fresh = replace(pipeline, workspace=Workspace.copy_of(project, tmp_path), logs=tmp_path / "logs", kills=Counter())
    for statements in range(0, 150, 4):
        with psycopg.connect(fresh.applications.url) as connection:
            change(connection, Random(statements))
        fresh.clock += timedelta(minutes=1)
        fresh.finish([fresh.start(fresh.land, fresh.clock, Kill("statements", statements / fresh.usual["land"].statements))])
    print(fresh.kills)
    fresh.finish_undisturbed(fresh.land, fresh.clock)
    assert raw_differences(fresh.applications.url, fresh.workspace.data) == []
    assert 0
