"""A load that is killed between any two of its statements is made good by the next."""

from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random

import psycopg
import pytest
from figures import raw_differences
from killable import Kill
from pipeline import Pipeline, correct
from sources import Sources
from workspace import Workspace

from meshflow.source.server import Server

pytestmark = pytest.mark.usefixtures("no_margins")


def test_a_load_killed_between_any_two_statements_is_made_good_by_the_next(
    project: Path, postgres: Server, tmp_path: Path
) -> None:
    """From the very first load on, which makes the tables. The sources go on writing in between."""
    (tmp_path / "logs").mkdir()
    pipeline = Pipeline(Sources.new(postgres), Workspace.copy_of(project, tmp_path), tmp_path / "logs")
    pipeline.finish_undisturbed(pipeline.generate, 0)
    for statements in count(0, 3):
        with psycopg.connect(pipeline.sources.url) as connection:
            correct(connection, Random(statements))  # noqa: S311
        pipeline.clock += timedelta(minutes=1)
        attempt = pipeline.start(pipeline.load, pipeline.clock, Kill(statements=statements))
        pipeline.finish([attempt])
        if attempt.succeeded:
            break
    assert pipeline.kills["load"] > 20
    assert raw_differences(pipeline.sources.url, pipeline.workspace.data) == []
