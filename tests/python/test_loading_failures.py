"""`meshflow load` where it cannot begin: one line, nothing changed, no word of a password."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import duckdb
import psycopg
import pytest
from loads import ALL, LoadedSource, frozen_load, the_error
from psycopg import sql
from sources import new_database

from meshflow.source.schema import admit_loader
from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)

AWKWARD = """quark@zebra:mango/lemon"plum'kiwi papaya%2f"""
"""A password that URLs, libpq, shells and SQL all read differently. None of its words may show anywhere."""


@dataclass(frozen=True)
class Failures:
    """What `meshflow load` said in each of FAILURES, with a loader whose password is AWKWARD."""

    loading: LoadedSource
    outputs: dict[str, tuple[int, str, str]]
    """Exit status, standard output, standard error."""


FAILURES = {
    "wrong password": 'password authentication failed for user "awkward"',
    "unknown host": "failed to resolve host 'nowhere.invalid'",
    "closed port": "Connection rejected",
    "no database": 'database "missing" does not exist',
    "no schema": 'schema "meshflow" does not exist. `meshflow source up` makes what a load needs',
    "no folder for data": "missing: make it, or set MESHFLOW_DATA to one that exists",
    "no URL": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "a bare @ in the password": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "a bare / in the password": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "no such table": "There is no table retail.orders to load: choose from edtech.students, edtech.courses",
    "RAW is no database": "live_raw.duckdb can't be opened: IO Error: The file",
    "RAW is damaged": "live_raw.duckdb can't be opened",
    "RAW is held by another process": f"process {os.getpid()} has",
}


@pytest.fixture(scope="module")
def awkward(postgres: Server) -> str:
    """A role whose password is AWKWARD."""
    with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE awkward LOGIN PASSWORD {}").format(sql.Literal(AWKWARD)))
    return "awkward"


@pytest.fixture(scope="module")
def failures(after_a_load: LoadedSource, awkward: str, tmp_path_factory: pytest.TempPathFactory) -> Failures:
    loading = after_a_load.clone(tmp_path_factory.mktemp("failures"))
    with closing(psycopg.connect(loading.source.url)) as owner:
        admit_loader(owner, awkward)
    loading.source.execute("UPDATE edtech.students SET last_name = 'new'")
    loading.source.execute("UPDATE retail.sales SET quantity = 2")
    server = loading.source.server
    empty = new_database(server, "source")
    password = quote(AWKWARD, safe="")

    def url(
        password: str = password, place: str = f"127.0.0.1:{server.port}", database: str = loading.source.database
    ) -> str:
        return f"postgresql://{awkward}:{password}@{place}/{database}"

    def data(name: str, change: Callable[[bytearray], object]) -> str:
        content = bytearray(loading.raw.read_bytes())
        change(content)
        (loading.project / name).mkdir()
        (loading.project / name / loading.raw.name).write_bytes(content)
        return name

    def damage(content: bytearray) -> None:
        content[12_288:32_768] = b"damaged!" * 2560  # behind the headers

    loader = "MESHFLOW_LOADER_URL"
    environments: dict[str, dict[str, str]] = {
        "wrong password": {loader: url(quote(AWKWARD + "!", safe=""))},
        "unknown host": {loader: url(place="nowhere.invalid")},
        "closed port": {loader: url(place="127.0.0.1:1")},
        "no database": {loader: url(database="missing")},
        "no schema": {loader: url(database=empty)},
        "no folder for data": {"MESHFLOW_DATA": "missing"},
        "no URL": {loader: AWKWARD},
        "a bare @ in the password": {loader: url("quark@zebra")},
        "a bare / in the password": {loader: url("mango/lemon")},
        "no such table": {},
        "RAW is no database": {"MESHFLOW_DATA": data("no_database", lambda content: content.reverse())},
        "RAW is damaged": {"MESHFLOW_DATA": data("damaged", damage)},
        "RAW is held by another process": {"MESHFLOW_DATA": data("held", bytes)},
    }
    arguments = {"no such table": ["--only", "retail.orders"], "RAW is held by another process": ["--wait", "0"]}

    def run(name: str) -> tuple[int, str, str]:
        process = loading.start(*arguments.get(name, []), **{loader: url()} | environments[name])
        output, errors = process.communicate()
        return process.returncode, output, errors

    held = loading.project / "held" / loading.raw.name
    with duckdb.connect(str(held)), ThreadPoolExecutor(3) as pool:
        return Failures(loading, dict(zip(FAILURES, pool.map(run, FAILURES), strict=True)))


@pytest.mark.parametrize("name", FAILURES)
def test_a_load_that_cannot_begin_says_why_in_one_line(failures: Failures, name: str) -> None:
    status, output, errors = failures.outputs[name]
    assert (status, output) == (1, "")
    assert FAILURES[name] in the_error(errors)
    assert len(errors.splitlines()) == 1


def test_after_loads_that_could_not_begin_the_next_one_loads_everything(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(failures.loading.project)
    assert len(failures.loading.load_log()) == 4
    told = failures.loading.load()
    assert told.complete
    for table in ALL:
        assert failures.loading.in_raw(table) == failures.loading.in_source(table)
    assert {table: load.rows for table, load in told.loads.items()} == {
        "edtech.students": 3, "edtech.courses": 0, "edtech.enrollments": 0, "retail.sales": 3,
    }  # fmt: skip


def words_of_the_password(text: str | bytes) -> set[str]:
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return {word for word in re.findall(r"[a-z]+", AWKWARD) if len(word) > 3 and word in text}


def test_no_error_shows_a_word_of_a_password(failures: Failures) -> None:
    for name, (_, output, errors) in failures.outputs.items():
        assert not words_of_the_password(output + errors), name


def test_a_password_shows_in_no_process_no_file_and_no_log_of_the_server(
    settled: LoadedSource, awkward: str, failures: Failures
) -> None:
    with closing(psycopg.connect(settled.source.url)) as owner:
        admit_loader(owner, awkward)
    server = settled.source.server
    url = f"postgresql://{awkward}:{quote(AWKWARD, safe='')}@127.0.0.1:{server.port}/{settled.source.database}"
    with frozen_load(settled, 3, MESHFLOW_LOADER_URL=url) as (process, writer):
        commands = {path: read(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        files = {path: read(path) for path in settled.data.rglob("*") if path.is_file()}
        assert f"/proc/{process.pid}/cmdline" in map(str, commands)
        assert settled.data / "loader" in {parent for path in files for parent in path.parents}
        writer.execute("SELECT pg_advisory_unlock_all()")
        output, errors = process.communicate()
    assert process.returncode == 0, "the password opens the database"
    log = (server.cluster / "log").read_bytes()
    assert b'password authentication failed for user "awkward"' in log
    for name, content in {"output": output + errors, "log": log, **commands, **files}.items():
        assert not words_of_the_password(content), name


def read(path: Path) -> bytes:
    """The bytes of a file, which may be gone by now."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
