"""The next load repairs one that was killed between any two of its statements."""

import shutil
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import psycopg
import pytest
from figures import raw_differences
from killable import Attempt, Kill, finish
from loads import LoadPipeline, change_contract, wait_for_loads_to_end
from pipeline import Pipeline, correct_rows
from sources import SourceDatabase
from workspace import Workspace

from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)
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


@pytest.mark.parametrize("change", ["a new column", "a remade table"])
def test_the_next_load_reads_all_rows_after_one_that_was_killed_while_it_changed_the_table(
    loaded_pipeline: LoadPipeline, change: str, tmp_path: Path
) -> None:
    """No row has changed in the source since the loads before."""
    is_remade = change == "a remade table"
    if is_remade:
        loaded_pipeline.source.execute("ALTER TABLE retail.sales ALTER price TYPE numeric(20, 4)")
        change_contract(loaded_pipeline, "retail.yaml", "price: DECIMAL(18, 2)", "price: DECIMAL(20, 4)")
    else:
        loaded_pipeline.source.execute("ALTER TABLE retail.sales ADD coupon text DEFAULT 'TEN'")
        loaded_pipeline.load("retail.sales")
        change_contract(loaded_pipeline, "retail.yaml", "    _deleted_at:", "    coupon: VARCHAR\n    _deleted_at:")
    loaded = tmp_path / "loaded"
    shutil.copytree(loaded_pipeline.data, loaded)
    kills = 0
    for statements in count():
        shutil.rmtree(loaded_pipeline.data)
        shutil.copytree(loaded, loaded_pipeline.data)
        load = partial(loaded_pipeline.load, "retail.sales", full=is_remade)
        attempt = Attempt("load", load, tmp_path / "log", Kill(statements=statements), 0)
        finish([attempt])
        wait_for_loads_to_end(loaded_pipeline.source)
        recorded = loaded_pipeline.load("retail.sales")
        if not recorded.complete:
            assert "--full-refresh" in recorded.rejections["retail.sales"]
            assert loaded_pipeline.load("retail.sales", full=True).complete
        assert loaded_pipeline.in_raw("retail.sales") == loaded_pipeline.in_source("retail.sales"), statements
        kills += attempt.was_killed_midway
        if attempt.succeeded:
            break
    assert kills > 10
