"""The load after one that was killed, ran out of disk or lost its server brings what the source holds."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from loads import ALL, LoadedSource, frozen_load, insert, the_error
from sources import Sources

from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)


def test_the_next_load_heals_one_that_was_killed(settled: LoadedSource) -> None:
    with frozen_load(settled, 3) as (first, _):
        first.kill()
    assert (settled.data / "loader").exists(), "it left its working folder"

    told = settled.load()

    assert told.complete
    for table in ALL:
        assert settled.in_raw(table) == settled.in_source(table)
    assert set(settled.loaded_at("edtech.students").values()) == {told.started_at}
    assert len(settled.load_log()) == 8, "the killed one is in the load log"
    assert not (settled.data / "loader").exists()


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (10_000, "live_raw.duckdb can't be opened"),
        (100_000, "edtech.students can't be written to RAW: [Errno 27] File too large"),
        (1_000_000, "edtech.students can't be written to RAW"),
    ],
)
def test_the_next_load_heals_one_that_ran_out_of_disk(loading: LoadedSource, limit: int, says: str) -> None:
    """A limit on the size of files stands in for a full disk: hits RAW's header, the loader's own files, RAW's rows."""
    loading.source.execute(
        "INSERT INTO edtech.students (first_name) SELECT repeat(md5(id::text), 100) FROM generate_series(1, 1000) AS id"
    )
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    process = loading.start(program=(sys.executable, "-c", f"{limited} from meshflow.cli import main; main()"))
    _, errors = process.communicate()
    assert process.returncode == 1
    assert says in the_error(errors)

    told = loading.load()

    assert told.complete
    for table in ALL:
        assert loading.in_raw(table) == loading.in_source(table)
        assert set(loading.loaded_at(table).values()) <= {told.started_at}
    assert len(loading.load_log()) == 4


def test_the_next_load_heals_one_whose_server_crashed(
    own_server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loading = LoadedSource.new(Sources.new(own_server), project, tmp_path)
    insert(loading.source, "edtech.students", [{"first_name": name} for name in ("Ada", "Grace", "Emmy")])
    with frozen_load(loading, 3) as (process, _):
        os.kill(int((own_server.cluster / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)  # -m immediate
        _, errors = process.communicate()
    assert process.returncode == 1
    assert f"PostgreSQL at loader@127.0.0.1:{own_server.port}" in the_error(errors)
    assert loading.load_log() == []

    while own_server.is_running:
        time.sleep(0.01)
    own_server.up()
    told = loading.load("edtech.students")

    assert told.complete
    assert loading.in_raw("edtech.students") == loading.in_source("edtech.students")
    assert set(loading.loaded_at("edtech.students").values()) == {told.started_at}
