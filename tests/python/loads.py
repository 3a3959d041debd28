"""A source of loads and a place for them: what the tests of `meshflow load` share."""

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
from sources import Sources

from meshflow.cli import main
from meshflow.loading.contract import LOADED_AT, Table, contract
from meshflow.loading.load import load_tables, session
from meshflow.loading.load_log import Load

Process = subprocess.Popen[str]


ALL = ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales")


MESHFLOW = Path(sys.executable).with_name("meshflow")


@dataclass
class Told:
    """What a load told, by table."""

    complete: bool = True
    started_at: datetime | None = None
    waits: list[str] = field(default_factory=list)
    cursor_start: dict[str, datetime | None] = field(default_factory=dict)
    new_columns: list[tuple[str, str, str]] = field(default_factory=list)
    loads: dict[str, Load] = field(default_factory=dict)
    rejections: dict[str, str] = field(default_factory=dict)
    on_wait: Callable[[], object] = list
    on_start: Callable[[str], object] = list

    def waiting(self, message: str) -> None:
        self.waits.append(message)
        self.on_wait()

    def locked(self, holder: str) -> None:
        raise AssertionError(holder)

    def started(self, table: Table, cursor_start: datetime | None) -> None:
        self.cursor_start[str(table)] = cursor_start
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
class LoadedSource:
    """Sources, and the working directory of loads of theirs: external_models and the folder data."""

    source: Sources
    project: Path

    @classmethod
    def new(cls, source: Sources, project: Path, root: Path) -> "LoadedSource":
        (root / "external_models").symlink_to(project / "external_models")
        (root / "data").mkdir()
        return cls(source, root)

    def clone(self, root: Path) -> "LoadedSource":
        """Another one, with all rows as they are now on both sides."""
        shutil.copytree(self.project, root, symlinks=True, dirs_exist_ok=True)
        name = f"source_{uuid4().hex[:12]}"
        statement = "CREATE DATABASE {} TEMPLATE {} OWNER source"
        with closing(administrator(self.source, "postgres", autocommit=True)) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(self.source.database)))
        return LoadedSource(Sources(self.source.server, name), root)

    @property
    def data(self) -> Path:
        return self.project / "data"

    @property
    def raw(self) -> Path:
        return self.data / "live_raw.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        """Of a shell in the project."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHFLOW_")}
        return inherited | self.source.environment

    def load(self, *tables: str, told: Told | None = None, at: datetime | None = None, full: bool = False) -> Told:
        """Load `tables`, or all, in this process."""
        told = told or Told()
        with session(self.source.loader_url, "live", self.data, 30, told, at=at) as held:
            assert held
            told.started_at = held.started_at
            told.complete = load_tables(held, told, only=tables, full_refresh=full)
        return told

    def start(self, *arguments: str, program: Iterable[str | Path] = (MESHFLOW,), **environment: str) -> Process:
        """`meshflow load ARGUMENTS` in a process of its own."""
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
        """What RAW answers."""
        with closing(duckdb.connect(str(self.raw), read_only=True)) as connection:
            return connection.execute(statement).fetchall()

    def in_raw(self, table: str) -> list[tuple]:
        """The rows that have loaded, in the order of their key, without `_loaded_at`."""
        return self.query(f"SELECT * EXCLUDE ({LOADED_AT}) FROM {table} ORDER BY ALL")

    def in_source(self, table: str) -> list[tuple]:
        """The source's rows, in the order of their key; moments as the UTC they are."""
        columns = ", ".join(column.name for column in contract(self.project)[table].read)
        rows = self.source.execute(
            f"SELECT {columns} FROM {table} ORDER BY {', '.join(contract(self.project)[table].key)}"
        )
        return [
            tuple(value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in row) for row in rows
        ]

    def loaded_at(self, table: str) -> dict[object, datetime]:
        """`_loaded_at` by the first column of the key, UTC."""
        rows = self.query(f"SELECT {contract(self.project)[table].key[0]}, {LOADED_AT} FROM {table}")
        return {key: moment.replace(tzinfo=UTC) for key, moment in rows}

    def load_log(self) -> list[tuple]:
        return self.query("FROM loader.loads ORDER BY started_at, finished_at")


def administrator(source: Sources, database: str = "", **options: object) -> psycopg.Connection:
    return psycopg.connect(source.server.url("postgres", database or source.database), **options)


def insert(source: Sources, table: str, rows: list[dict[str, object]]) -> None:
    """As the sources do, in one transaction."""
    columns = [sql.Identifier(name) for name in rows[0]]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(columns),
        sql.SQL(", ").join(sql.Placeholder() * len(columns)),
    )
    with psycopg.connect(source.url) as connection:
        connection.cursor().executemany(statement, [tuple(row.values()) for row in rows])


def backdate(source: Sources, *tables: str) -> None:
    """Have all rows written two hours earlier, behind the back of the trigger that keeps the time."""
    with administrator(source, options="-c session_replication_role=replica") as connection:
        for table in tables:
            connection.execute(f"UPDATE {table} SET updated_at = updated_at - interval '2 hours'".encode())


def wait_until(condition: Callable[[], object], process: Process) -> None:
    """Until `condition` holds; `process` has to be running until then."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def the_error(output: str) -> str:
    """The one error in `output`: one line."""
    assert "Traceback" not in output, output
    lines = output.splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1, output
    assert lines[-1] == errors[0], output
    return errors[0]


@contextmanager
def frozen_load(loading: LoadedSource, last: int, **environment: str) -> Iterator[tuple[Process, psycopg.Connection]]:
    """`meshflow load` in another process, frozen in the middle of edtech.students, of which it has read all but `last`.

    That row can't be read before the connection does pg_advisory_unlock_all().
    """
    loading.source.execute("UPDATE edtech.students SET email = 'new'")
    loading.source.execute("ALTER TABLE edtech.students ENABLE ROW LEVEL SECURITY")
    loading.source.execute(
        "CREATE POLICY frozen ON edtech.students "
        f"USING (student_id <> {last} OR pg_advisory_xact_lock_shared(1) IS NOT NULL)"
    )
    waiting = (
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    with closing(psycopg.connect(loading.source.url, autocommit=True)) as writer:
        writer.execute("SELECT pg_advisory_lock(1)")
        process = loading.start(**environment)
        try:
            wait_until(lambda: loading.source.execute(waiting), process)
            yield process, writer
        finally:
            process.kill()
            process.communicate()


def meshflow(loading: LoadedSource, *arguments: str, **environment: str) -> Result:
    """The `meshflow` command in this process."""
    return CliRunner(env=loading.source.environment | environment).invoke(main, arguments)
