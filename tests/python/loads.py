"""Helpers for the tests of `meshflow load`: a source database with a project folder, and a recording reporter."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import psycopg
from click.testing import CliRunner, Result
from psycopg import sql
from sources import SourceDatabase

from meshflow.cli import main
from meshflow.loading.contract import DELETED_AT, LOADED_AT, Table, contract
from meshflow.loading.load import load_tables, session
from meshflow.loading.load_log import Load
from meshflow.loading.reader import Cursor

Process = subprocess.Popen[str]
SOURCE_TABLES = ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales")
MESHFLOW = Path(sys.executable).with_name("meshflow")


@dataclass
class RecordingReporter:
    """Records the events of a load, by table."""

    complete: bool = True
    started_at: datetime | None = None
    waits: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cursors: dict[str, Cursor] = field(default_factory=dict)
    new_columns: list[tuple[str, str, str]] = field(default_factory=list)
    loads: dict[str, Load] = field(default_factory=dict)
    rejections: dict[str, str] = field(default_factory=dict)
    on_wait: Callable[[], object] = list
    on_start: Callable[[str], object] = list

    def waiting(self, message: str) -> None:
        self.waits.append(message)
        self.on_wait()

    def warned(self, message: str) -> None:
        self.warnings.append(message)

    def locked(self, holder: str) -> None:
        raise AssertionError(holder)

    def started(self, table: Table, cursor: Cursor) -> None:
        self.cursors[str(table)] = cursor
        self.on_start(str(table))

    def rows(self, table: Table, count: int) -> None:
        pass

    def new_column(self, table: Table, name: str, type_: str) -> None:
        self.new_columns.append((str(table), name, type_))

    def finished(self, load: Load) -> None:
        self.loads[str(load.table)] = load

    def rejected(self, table: Table, message: str) -> None:
        self.rejections[str(table)] = message


@dataclass(frozen=True)
class LoadPipeline:
    """A source database, and a project folder with external_models and data for its loads."""

    source: SourceDatabase
    project: Path

    @classmethod
    def new(cls, source: SourceDatabase, project: Path, root: Path) -> "LoadPipeline":
        (root / "external_models").symlink_to(project / "external_models")
        (root / "data").mkdir()
        return cls(source, root)

    def clone(self, root: Path) -> "LoadPipeline":
        """A copy, with the same rows in the source and in RAW."""
        shutil.copytree(self.project, root, symlinks=True, dirs_exist_ok=True)
        name = f"source_{uuid4().hex[:12]}"
        statement = "CREATE DATABASE {} TEMPLATE {} OWNER source"
        with closing(connect_as_superuser(self.source, "postgres", autocommit=True)) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(self.source.database)))
        clone = LoadPipeline(SourceDatabase(self.source.server, name), root)
        # A load tells databases apart by their oids, and would read all rows.
        oid = "SELECT oid FROM pg_database WHERE datname = current_database()"
        [(before,)], [(after,)] = self.source.execute(oid), clone.source.execute(oid)
        with closing(duckdb.connect(str(clone.raw))) as connection:
            connection.execute(f"UPDATE loader.loads SET storage = replace(storage, '/{before}/', '/{after}/')")
        return clone

    @property
    def data(self) -> Path:
        return self.project / "data"

    @property
    def raw(self) -> Path:
        return self.data / "live_raw.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a shell in the project."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHFLOW_")}
        return inherited | self.source.environment

    def load(
        self, *tables: str, reporter: RecordingReporter | None = None, at: datetime | None = None, full: bool = False
    ) -> RecordingReporter:
        """Load `tables`, or all, in this process."""
        reporter = reporter or RecordingReporter()
        with session(self.source.loader_url, "live", self.data, 30, reporter, at=at) as opened:
            assert opened
            reporter.started_at = opened.started_at
            reporter.complete = load_tables(opened, reporter, only=tables, full_refresh=full)
        return reporter

    def start(self, *arguments: str, program: Iterable[str | Path] = (MESHFLOW,), **environment: str) -> Process:
        """Start `meshflow load ARGUMENTS` in another process."""
        return subprocess.Popen(
            [*program, "load", *arguments],
            cwd=self.project,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def query(self, statement: str) -> list[tuple]:
        """The result of `statement` in RAW."""
        with closing(duckdb.connect(str(self.raw), read_only=True)) as connection:
            return connection.execute(statement).fetchall()

    def in_raw(self, table: str) -> list[tuple]:
        """The rows that the source had at the last load, ordered, without the loader's columns."""
        columns = f"* EXCLUDE ({LOADED_AT}, {DELETED_AT})"
        return self.query(f"SELECT {columns} FROM {table} WHERE {DELETED_AT} IS NULL ORDER BY ALL")

    def in_source(self, table: str, condition: str = "true") -> list[tuple]:
        """The source rows, ordered by key or all columns; timestamps in UTC without a zone."""
        described = contract(self.project)[table]
        columns = ", ".join(column.name for column in described.source_columns)
        order = ", ".join(described.key) or columns
        rows = self.source.execute(f"SELECT {columns} FROM {table} WHERE {condition} ORDER BY {order}")
        return [
            tuple(value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in row) for row in rows
        ]

    def loaded_at(self, table: str) -> dict[object, datetime]:
        """`_loaded_at` by the first column of the key, UTC."""
        rows = self.query(f"SELECT {contract(self.project)[table].key[0]}, {LOADED_AT} FROM {table}")
        return {key: time.replace(tzinfo=UTC) for key, time in rows}

    def load_log(self) -> list[tuple]:
        """The finished loads."""
        return self.query(
            "SELECT * EXCLUDE (status, error_class) FROM loader.loads "
            "WHERE finished_at IS NOT NULL ORDER BY started_at, finished_at"
        )


def connect_as_superuser(source: SourceDatabase, database: str = "", **options: object) -> psycopg.Connection:
    return psycopg.connect(source.server.url("postgres", database or source.database), **options)


def insert(source: SourceDatabase, table: str, rows: list[dict[str, object]]) -> None:
    """Insert rows as the owner, in one transaction."""
    columns = [sql.Identifier(name) for name in rows[0]]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(columns),
        sql.SQL(", ").join(sql.Placeholder() * len(columns)),
    )
    with psycopg.connect(source.url) as connection:
        connection.cursor().executemany(statement, [tuple(row.values()) for row in rows])


def backdate(source: SourceDatabase, *tables: str, by: str = "2 hours") -> None:
    """Set updated_at of all rows back, without the trigger."""
    with psycopg.connect(source.url) as connection:
        for table in tables:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            connection.execute(f"UPDATE {table} SET updated_at = updated_at - interval '{by}'".encode())
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())
            connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER set_updated_at".encode())


def without_time_cursor(source: SourceDatabase) -> None:
    """Drop the indexes on updated_at, so that loads use xmin."""
    for table in SOURCE_TABLES:
        source.execute(f"DROP INDEX {table}_updated_at")


def change_contract(pipeline: LoadPipeline, file: str, old: str, new: str) -> None:
    """Give the project its own copy of the contract, and change one passage of `file`."""
    folder = pipeline.project / "external_models"
    if folder.is_symlink():
        shared = folder.resolve()
        folder.unlink()
        shutil.copytree(shared, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")


def add_contract(pipeline: LoadPipeline, name: str, key: str | None, columns: dict[str, str]) -> None:
    """Add a table to the project's own copy of the contract."""
    lines = [f"- name: raw.{name}", "  gateway: live", *([f"  grain: ({key})"] if key else []), "  columns:"]
    lines += [f"    {column}: {type_}" for column, type_ in columns.items()]
    lines += ["    _deleted_at: TIMESTAMPNTZ", "    _loaded_at: TIMESTAMPNTZ", ""]
    change_contract(pipeline, "retail.yaml", "# The same on Snowflake", "\n".join(lines) + "\n# The same on Snowflake")


def wait_until(condition: Callable[[], object], process: Process) -> None:
    """Wait until `condition` is true; `process` has to run until then."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def wait_for_loads_to_end(source: SourceDatabase) -> None:
    """A killed load's sessions, and its lock, end soon after it."""
    sessions = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND usename = 'loader'"
    while source.execute(sessions):
        time.sleep(0.01)


def error_line(output: str) -> str:
    """The only error in `output`, which is its last line."""
    assert "Traceback" not in output, output
    lines = output.splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1, output
    assert lines[-1] == errors[0], output
    return errors[0]


@contextmanager
def frozen_load(pipeline: LoadPipeline, **environment: str) -> Iterator[tuple[Process, psycopg.Connection]]:
    """`meshflow load` in another process, which waits for a lock on edtech.students before it reads its rows.

    The yielded connection holds the lock until its transaction ends, or the load gives up.
    """
    pipeline.source.execute("UPDATE edtech.students SET email = 'new'")
    waiting = (
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND locktype = 'relation' AND NOT granted"
    )
    with closing(psycopg.connect(pipeline.source.url)) as writer:
        writer.execute("LOCK TABLE edtech.students")
        process = pipeline.start(**environment)
        try:
            wait_until(lambda: pipeline.source.execute(waiting), process)
            yield process, writer
        finally:
            process.kill()
            process.communicate()


def run_meshflow(pipeline: LoadPipeline, *arguments: str, **environment: str) -> Result:
    """Run the `meshflow` command in this process."""
    return CliRunner(env=pipeline.source.environment | environment).invoke(main, arguments)
