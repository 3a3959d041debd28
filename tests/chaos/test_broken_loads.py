"""The load after one that was killed, ran out of disk or lost its server makes RAW equal to the source."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from loads import SOURCE_TABLES, LoadPipeline, error_line, frozen_load, insert
from sources import SourceDatabase

from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)


def test_the_next_load_repairs_one_that_was_killed(loaded_pipeline: LoadPipeline) -> None:
    with frozen_load(loaded_pipeline) as (first, _):
        first.kill()
    assert (loaded_pipeline.data / "loader").exists(), "the killed load left its working folder behind"

    recorded = loaded_pipeline.load()

    assert recorded.complete
    for table in SOURCE_TABLES:
        assert loaded_pipeline.in_raw(table) == loaded_pipeline.in_source(table)
    assert set(loaded_pipeline.loaded_at("edtech.students").values()) == {recorded.started_at}
    assert len(loaded_pipeline.load_log()) == 8, "the load log contains the killed load"
    assert not (loaded_pipeline.data / "loader").exists()


@pytest.mark.parametrize(
    ("size_limit", "message"),
    [
        (10_000, "live_raw.duckdb can't be opened"),
        (100_000, "edtech.students can't be written to RAW: [Errno 27] File too large"),
        (1_000_000, "edtech.students can't be written to RAW"),
    ],
)
def test_the_next_load_repairs_one_that_ran_out_of_disk(pipeline: LoadPipeline, size_limit: int, message: str) -> None:
    """A file size limit simulates a full disk. It hits RAW's header, the loader's own files, or RAW's rows."""
    pipeline.source.execute(
        "INSERT INTO edtech.students (first_name) SELECT repeat(md5(id::text), 100) FROM generate_series(1, 1000) AS id"
    )
    set_limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size_limit}, {size_limit})); "
    process = pipeline.start(program=(sys.executable, "-c", f"{set_limit} from meshflow.cli import main; main()"))
    _, errors = process.communicate()
    assert process.returncode == 1
    assert message in error_line(errors)

    recorded = pipeline.load()

    assert recorded.complete
    for table in SOURCE_TABLES:
        assert pipeline.in_raw(table) == pipeline.in_source(table)
        assert set(pipeline.loaded_at(table).values()) <= {recorded.started_at}
    assert len(pipeline.load_log()) == 4


def test_the_next_load_repairs_one_whose_server_crashed(
    own_server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = LoadPipeline.new(SourceDatabase.new(own_server), project, tmp_path)
    insert(pipeline.source, "edtech.students", [{"first_name": name} for name in ("Ada", "Grace", "Emmy")])
    with frozen_load(pipeline) as (process, _):
        os.kill(int((own_server.cluster / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)  # -m immediate
        _, errors = process.communicate()
    assert process.returncode == 1
    assert f"PostgreSQL at loader@127.0.0.1:{own_server.port}" in error_line(errors)
    assert pipeline.load_log() == []

    while own_server.is_running:
        time.sleep(0.01)
    own_server.up()
    recorded = pipeline.load("edtech.students")

    assert recorded.complete
    assert pipeline.in_raw("edtech.students") == pipeline.in_source("edtech.students")
    assert set(pipeline.loaded_at("edtech.students").values()) == {recorded.started_at}
