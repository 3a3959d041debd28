"""The next load repairs one that was killed between any two of its statements."""

from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random

import psycopg
import pytest
from figures import raw_differences
from killable import Kill
from pipeline import Pipeline, correct_rows
from sources import SourceDatabase
from workspace import Workspace

from meshflow.source.server import Server

pytestmark = pytest.mark.usefixtures("no_margins")


def test_the_next_load_repairs_one_that_was_killed_between_any_two_statements(
    project: Path, postgres: Server, tmp_path: Path
) -> None:
    """Starts with the very first load, which creates the tables. The sources write on between the loads."""
    (tmp_path / "logs").mkdir()
    pipeline = Pipeline(SourceDatabase.new(postgres), Workspace.copy_of(project, tmp_path), tmp_path / "logs")
    pipeline.finish_undisturbed(pipeline.generate, 0)
    for statements in count(0, 3):
        with psycopg.connect(pipeline.sources.url) as connection:
            correct_rows(connection, Random(statements))  # noqa: S311
        pipeline.pass_time(timedelta(minutes=1))
        attempt = pipeline.start(pipeline.load, pipeline.clock, Kill(statements=statements))
        pipeline.finish([attempt])
        if attempt.succeeded:
            break
    assert pipeline.kills["load"] > 20
    assert raw_differences(pipeline.sources.url, pipeline.workspace.data) == []
