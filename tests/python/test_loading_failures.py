"""`meshflow load` that can't start: one error line, no change, no part of a password."""

import errno
import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import duckdb
import psycopg
import pytest
from loads import MESHFLOW, SOURCE_TABLES, LoadPipeline, error_line, frozen_load, run_meshflow
from pooler import ignoring_pooler, rejecting_pooler
from psycopg import sql

from meshflow.failures import LOG
from meshflow.source.schema import grant_loader_access
from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)

AWKWARD = """quark@zebra:mango/lemon"plum'kiwi papaya%2f"""
"""A password with special characters of URLs, libpq, shells and SQL. None of its words may appear in any output."""


@dataclass(frozen=True)
class Failures:
    """The output of `meshflow load` in each of FAILURES. The loader's password is AWKWARD."""

    pipeline: LoadPipeline
    outputs: dict[str, tuple[int, str, str]]
    """Exit status, standard output, standard error."""


FAILURES = {
    "wrong password": 'password authentication failed for user "awkward"',
    "unknown host": "failed to resolve host 'nowhere.invalid'",
    "closed port": os.strerror(errno.ECONNREFUSED),
    "no database": 'database "missing" does not exist',
    "no folder for data": "missing: create it, or set MESHFLOW_DATA to one that exists",
    "a pooler": "unsupported startup parameter: options. This is a pooler such as PgBouncer: write the host and port",
    "no URL": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "a bare @ in the password": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "a bare / in the password": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "no such table": "There is no table retail.orders to load: choose from edtech.students, edtech.courses",
    "RAW is no database": "live_raw.duckdb can't be opened: IO Error: The file",
    "RAW is damaged": "live_raw.duckdb can't be opened",
    "RAW is open in another process": f"process {os.getpid()} has",
}


@pytest.fixture(scope="module")
def awkward(postgres: Server) -> str:
    """A role whose password is AWKWARD."""
    with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE awkward LOGIN PASSWORD {}").format(sql.Literal(AWKWARD)))
    return "awkward"


@pytest.fixture(scope="module")
def failures(loaded_template: LoadPipeline, awkward: str, tmp_path_factory: pytest.TempPathFactory) -> Failures:
    pipeline = loaded_template.clone(tmp_path_factory.mktemp("failures"))
    with closing(psycopg.connect(pipeline.source.url)) as owner:
        grant_loader_access(owner, awkward)
    pipeline.source.execute("UPDATE edtech.students SET last_name = 'new'")
    pipeline.source.execute("UPDATE retail.sales SET quantity = 2")
    server = pipeline.source.server
    password = quote(AWKWARD, safe="")

    def url(
        password: str = password, address: str = f"127.0.0.1:{server.port}", database: str = pipeline.source.database
    ) -> str:
        return f"postgresql://{awkward}:{password}@{address}/{database}"

    def data(name: str, change: Callable[[bytearray], object]) -> str:
        content = bytearray(pipeline.raw.read_bytes())
        change(content)
        (pipeline.project / name).mkdir()
        (pipeline.project / name / pipeline.raw.name).write_bytes(content)
        return name

    def damage(content: bytearray) -> None:
        content[12_288:32_768] = b"damaged!" * 2560  # behind the headers

    loader = "MESHFLOW_LOADER_URL"
    environments: dict[str, dict[str, str]] = {
        "wrong password": {loader: url(quote(AWKWARD + "!", safe=""))},
        "unknown host": {loader: url(address="nowhere.invalid")},
        "closed port": {loader: url(address="127.0.0.1:1")},
        "no database": {loader: url(database="missing")},
        "no folder for data": {"MESHFLOW_DATA": "missing"},
        "a pooler": {},
        "no URL": {loader: AWKWARD},
        "a bare @ in the password": {loader: url("quark@zebra")},
        "a bare / in the password": {loader: url("mango/lemon")},
        "no such table": {},
        "RAW is no database": {"MESHFLOW_DATA": data("no_database", lambda content: content.reverse())},
        "RAW is damaged": {"MESHFLOW_DATA": data("damaged", damage)},
        "RAW is open in another process": {"MESHFLOW_DATA": data("open", bytes)},
    }
    arguments = {"no such table": ["--only", "retail.orders"], "RAW is open in another process": ["--wait", "0"]}

    def run(name: str) -> tuple[int, str, str]:
        process = pipeline.start(*arguments.get(name, []), **{loader: url()} | environments[name])
        output, errors = process.communicate()
        return process.returncode, output, errors

    opened = pipeline.project / "open" / pipeline.raw.name
    with duckdb.connect(str(opened)), rejecting_pooler() as port, ThreadPoolExecutor(3) as pool:
        environments["a pooler"] = {loader: url(address=f"127.0.0.1:{port}")}
        return Failures(pipeline, dict(zip(FAILURES, pool.map(run, FAILURES), strict=True)))


@pytest.mark.parametrize("name", FAILURES)
def test_a_load_that_cannot_start_prints_one_line_with_the_reason(failures: Failures, name: str) -> None:
    status, output, errors = failures.outputs[name]
    assert (status, output) == (1, "")
    assert FAILURES[name] in error_line(errors)
    assert len(errors.splitlines()) == 1


def test_a_pooler_that_ignores_the_settings_of_a_session_is_named(loaded_pipeline: LoadPipeline) -> None:
    """Values would be written as the role presets them, and row-level security would hide rows."""
    url = loaded_pipeline.source.loader_url
    with ignoring_pooler(loaded_pipeline.source.server.port) as port:
        through_pooler = url.replace(f":{loaded_pipeline.source.server.port}/", f":{port}/")
        result = run_meshflow(loaded_pipeline, "load", MESHFLOW_LOADER_URL=through_pooler)
    assert result.exit_code == 1
    assert "ignores the settings of the session. This is a pooler such as PgBouncer" in error_line(result.stderr)


def test_after_loads_that_could_not_start_the_next_one_loads_all_changes(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(failures.pipeline.project)
    assert len(failures.pipeline.load_log()) == 4
    recorded = failures.pipeline.load()
    assert recorded.complete
    for table in SOURCE_TABLES:
        assert failures.pipeline.in_raw(table) == failures.pipeline.in_source(table)
    assert {table: load.rows for table, load in recorded.loads.items()} == {
        "edtech.students": 3, "edtech.courses": 0, "edtech.enrollments": 0, "retail.sales": 3,
    }  # fmt: skip


def test_a_load_that_cannot_reach_the_source_is_in_the_load_log(loaded_pipeline: LoadPipeline) -> None:
    process = loaded_pipeline.start(MESHFLOW_LOADER_URL="postgresql://a:p@127.0.0.1:1/c")
    assert process.wait() == 1
    failed = "SELECT source || '.' || table_name FROM loader.loads WHERE status = 'failed'"
    assert {table for (table,) in loaded_pipeline.query(failed)} == set(SOURCE_TABLES)
    assert loaded_pipeline.query(f"{failed} AND error_class <> 'OperationalError'") == []
    assert len(loaded_pipeline.load_log()) == 4, "none of them is finished"


def words_of_the_password(text: str | bytes) -> set[str]:
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return {word for word in re.findall(r"[a-z]+", AWKWARD) if len(word) > 3 and word in text}


def test_no_error_contains_a_word_of_a_password(failures: Failures) -> None:
    for name, (_, output, errors) in failures.outputs.items():
        assert not words_of_the_password(output + errors), name


def test_a_password_appears_in_no_process_no_file_and_no_server_log(
    loaded_pipeline: LoadPipeline, awkward: str, failures: Failures
) -> None:
    with closing(psycopg.connect(loaded_pipeline.source.url)) as owner:
        grant_loader_access(owner, awkward)
    server = loaded_pipeline.source.server
    url = f"postgresql://{awkward}:{quote(AWKWARD, safe='')}@127.0.0.1:{server.port}/{loaded_pipeline.source.database}"
    with frozen_load(loaded_pipeline, MESHFLOW_LOADER_URL=url) as (process, writer):
        commands = {path: read(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        files = {path: read(path) for path in loaded_pipeline.data.rglob("*") if path.is_file()}
        assert f"/proc/{process.pid}/cmdline" in map(str, commands)
        assert loaded_pipeline.data / "loader" in {parent for path in files for parent in path.parents}
        writer.commit()
        output, errors = process.communicate()
    assert process.returncode == 0, "the password is right, so the load should succeed"
    log = (server.cluster / "log").read_bytes()
    assert b'password authentication failed for user "awkward"' in log
    for name, content in {"output": output + errors, "log": log, **commands, **files}.items():
        assert not words_of_the_password(content), name


def read(path: Path) -> bytes:
    """The bytes of a file; empty if it no longer exists."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("command", ["load", "reconcile"])
def test_a_value_in_an_error_of_the_source_is_only_in_the_log(command: str, loaded_pipeline: LoadPipeline) -> None:
    """The source's view casts a column, which fails for one row."""
    canary, source = "canary@example.org", loaded_pipeline.source
    columns = [name for (name,) in source.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'courses' ORDER BY ordinal_position"
    )]  # fmt: skip
    source.execute("UPDATE edtech.courses SET course_name = %s", canary)
    source.execute("ALTER TABLE edtech.courses RENAME TO stored_courses")
    cast = "course_name::INT::VARCHAR AS instructor_name"
    selected = ", ".join(cast if name == "instructor_name" else str(name) for name in columns)
    source.execute(f"CREATE VIEW edtech.courses AS SELECT {selected} FROM edtech.stored_courses")
    source.execute("GRANT SELECT ON edtech.courses TO loader")
    contract = loaded_pipeline.project / "external_models"  # a link; a view is loaded without a key
    files = {file.name: file.read_text() for file in contract.iterdir()}
    contract.unlink()
    contract.mkdir()
    for name, text in files.items():
        (contract / name).write_text(text.replace("  grain: course_id\n", ""))
    done = subprocess.run(
        [MESHFLOW, command, "--json"],
        cwd=loaded_pipeline.project, env=loaded_pipeline.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "edtech.courses: the source's rows can't be read: " in done.stdout
    assert canary not in done.stdout + done.stderr
    assert canary in (loaded_pipeline.project / LOG).read_text()
