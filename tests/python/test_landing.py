"""`meshflow land`, from a real PostgreSQL to a real DuckDB: exact rows, late commits, drift, failures, secrets."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import click
import duckdb
import psycopg
import pytest
from applications import Applications, new_database
from click.testing import CliRunner, Result
from dlt.pipeline.pipeline import Pipeline
from psycopg import sql

from meshflow.cli import main
from meshflow.landing import reader
from meshflow.landing.contract import LANDED_AT, Table, contract
from meshflow.landing.ledger import Ledger, Load
from meshflow.landing.load import land, session
from meshflow.source.schema import admit_loader, install
from meshflow.source.server import Server

Process = subprocess.Popen[str]
ALL = ("edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales")
MESHFLOW = Path(sys.executable).with_name("meshflow")
AWKWARD = """quark@zebra:mango/lemon"plum'kiwi papaya%2f"""
"""A password that URLs, libpq, shells and SQL all read differently. None of its words may show anywhere."""

TEXTS = [
    None, "", " ", "NULL", r"\N", r"back\slash\\", 'double "quotes"', "single 'quotes' ''", "new\nline", "\r\n", "\t",
    "a,b;c|d", "Zoë Ångström", "日本語 עברית العربية", "👩🏽‍🎓", "e\u0301", "\ufeffmark", "\u0001\u007f\u200b",
    "%s {} $1 --", "x" * 1_000_000,
]  # fmt: skip
DAYS = [None, date(1, 1, 1), date(1899, 12, 31), date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date.max]
MOMENTS = [
    None,
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 1, 2, 3, 4, tzinfo=UTC),
    datetime(2300, 1, 1, 0, 0, 0, 1, tzinfo=UTC),  # beyond nanoseconds in 64 bits
    datetime.max.replace(tzinfo=UTC),
]
MONEY = [None, *map(Decimal, ("0", "0.01", "-0.01", "0.10", "19.99", "9999999999999999.99", "-9999999999999999.99"))]
DISCOUNTS = [None, *map(Decimal, ("0", "0.0001", "0.1", "0.3333", "1", "99999.9999", "-99999.9999"))]


@dataclass
class Told:
    """What a load told, by table."""

    complete: bool = True
    started_at: datetime | None = None
    waits: list[str] = field(default_factory=list)
    read_from: dict[str, datetime | None] = field(default_factory=dict)
    new_columns: list[tuple[str, str, str]] = field(default_factory=list)
    loads: dict[str, Load] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    on_wait: Callable[[], object] = list
    on_start: Callable[[str], object] = list

    def waiting(self, message: str) -> None:
        self.waits.append(message)
        self.on_wait()

    def locked(self, holder: str) -> None:
        raise AssertionError(holder)

    def started(self, table: Table, read_from: datetime | None) -> None:
        self.read_from[str(table)] = read_from
        self.on_start(str(table))

    def rows(self, table: Table, count: int) -> None:
        pass

    def new_column(self, table: Table, name: str, type_: str) -> None:
        self.new_columns.append((str(table), name, type_))

    def finished(self, load: Load) -> None:
        self.loads[str(load.table)] = load

    def refused(self, table: Table, message: str) -> None:
        self.refusals[str(table)] = message


@dataclass(frozen=True)
class Landing:
    """Applications, and the working directory of loads of theirs: external_models and the folder data."""

    source: Applications
    project: Path

    @classmethod
    def new(cls, source: Applications, project: Path, root: Path) -> "Landing":
        (root / "external_models").symlink_to(project / "external_models")
        (root / "data").mkdir()
        return cls(source, root)

    def clone(self, root: Path) -> "Landing":
        """Another one, with all rows as they are now on both sides."""
        shutil.copytree(self.project, root, symlinks=True, dirs_exist_ok=True)
        name = f"application_{uuid4().hex[:12]}"
        statement = "CREATE DATABASE {} TEMPLATE {} OWNER application"
        with closing(administrator(self.source, "postgres", autocommit=True)) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(self.source.database)))
        return Landing(Applications(self.source.server, name), root)

    @property
    def data(self) -> Path:
        return self.project / "data"

    @property
    def raw(self) -> Path:
        return self.data / "landed_raw.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        """Of a shell in the project."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHFLOW_")}
        return inherited | self.source.environment

    def load(self, *tables: str, told: Told | None = None, at: datetime | None = None, full: bool = False) -> Told:
        """Land `tables`, or all, in this process."""
        told = told or Told()
        with session(self.source.loader_url, "landed", self.data, 30, told, at=at) as held:
            assert held
            told.started_at = held.started_at
            told.complete = land(held, told, only=tables, full_refresh=full)
        return told

    def start(self, *arguments: str, program: Iterable[str | Path] = (MESHFLOW,), **environment: str) -> Process:
        """`meshflow land ARGUMENTS` in a process of its own."""
        return subprocess.Popen(
            [*program, "land", *arguments],
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
        """The rows that have landed, in the order of their key, without `_landed_at`."""
        return self.query(f"SELECT * EXCLUDE ({LANDED_AT}) FROM {table} ORDER BY ALL")

    def in_source(self, table: str) -> list[tuple]:
        """The application's rows, in the order of their key; moments as the UTC they are."""
        columns = ", ".join(column.name for column in contract(self.project)[table].read)
        rows = self.source.execute(
            f"SELECT {columns} FROM {table} ORDER BY {', '.join(contract(self.project)[table].key)}"
        )
        return [
            tuple(value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in row) for row in rows
        ]

    def landed_at(self, table: str) -> dict[object, datetime]:
        """`_landed_at` by the first column of the key, UTC."""
        rows = self.query(f"SELECT {contract(self.project)[table].key[0]}, {LANDED_AT} FROM {table}")
        return {key: moment.replace(tzinfo=UTC) for key, moment in rows}

    def ledger(self) -> list[tuple]:
        return self.query("FROM landing.loads ORDER BY started_at, finished_at")


def administrator(source: Applications, database: str = "", **options: object) -> psycopg.Connection:
    return psycopg.connect(source.server.url("postgres", database or source.database), **options)


def insert(source: Applications, table: str, rows: list[dict[str, object]]) -> None:
    """As the applications do, in one transaction."""
    columns = [sql.Identifier(name) for name in rows[0]]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(columns),
        sql.SQL(", ").join(sql.Placeholder() * len(columns)),
    )
    with psycopg.connect(source.url) as connection:
        connection.cursor().executemany(statement, [tuple(row.values()) for row in rows])


def backdate(source: Applications, *tables: str) -> None:
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


@pytest.fixture
def landing(source: Applications, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Landing:
    """Applications without rows, and no load yet."""
    monkeypatch.chdir(tmp_path)
    return Landing.new(source, project, tmp_path)


@pytest.fixture(scope="module")
def after_a_load(postgres: Server, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """Two rows or more in every table, two hours old, and all of them landed. To be cloned."""
    landing = Landing.new(Applications.new(postgres), project, tmp_path_factory.mktemp("after_a_load"))
    insert(landing.source, "edtech.students", [{"first_name": name} for name in ("Ada", "Grace", "Emmy")])
    insert(landing.source, "edtech.courses", [{"course_name": name, "credits": 5} for name in ("Logic", "Compilers")])
    insert(landing.source, "edtech.enrollments", [{"student_id": 1, "course_id": 1}, {"student_id": 2, "course_id": 2}])
    lines = [(1, 10), (1, 11), (2, 10)]
    insert(
        landing.source,
        "retail.sales",
        [
            {"order_id": order, "product_id": product, "price": Decimal("19.99"), "quantity": 1}
            for order, product in lines
        ],
    )
    backdate(landing.source, *ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(landing.project)
        assert landing.load().complete
    return landing


@pytest.fixture
def settled(after_a_load: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Landing:
    """A few rows in every table, two hours old, and all of them landed."""
    monkeypatch.chdir(tmp_path)
    return after_a_load.clone(tmp_path)


def cycle(values: list, count: int) -> list:
    return [values[number % len(values)] for number in range(count)]


def test_a_first_load_lands_every_value_exactly(landing: Landing) -> None:
    texts = [
        {"first_name": text, "last_name": "Ada", "email": text, "date_of_birth": day, "deleted_at": moment}
        for text, day, moment in zip(TEXTS, cycle(DAYS, 20), cycle(MOMENTS, 20), strict=True)
    ]
    insert(landing.source, "edtech.students", texts)
    integers = [None, 0, 1, -1, 2**31 - 1, -(2**31)]
    insert(
        landing.source,
        "edtech.courses",
        [{"credits": number, "start_date": day} for number, day in zip(integers, cycle(DAYS, 6), strict=True)],
    )
    insert(landing.source, "edtech.enrollments", [{"enrollment_id": -(2**63)}, {"enrollment_id": 2**63 - 1}])
    sales = [
        {
            "order_id": order,
            "product_id": -order,
            "price": price,
            "discount": discount,
            "shipping_cost": price,
            "purchased_at": at,
        }
        for order, (price, discount, at) in enumerate(zip(MONEY, DISCOUNTS, cycle(MOMENTS, 8), strict=True))
    ]
    insert(landing.source, "retail.sales", sales)

    told = landing.load()

    assert told.complete
    for table in ALL:
        assert landing.in_raw(table) == landing.in_source(table), table
        assert set(landing.landed_at(table).values()) == {told.started_at}
    assert [text for (text,) in landing.query("SELECT first_name FROM edtech.students ORDER BY student_id")] == TEXTS
    assert landing.query("SELECT price, discount, purchased_at FROM retail.sales ORDER BY order_id") == [
        (sale["price"], sale["discount"], sale["purchased_at"] and sale["purchased_at"].replace(tzinfo=None))
        for sale in sales
    ]


def test_moments_land_as_utc_whatever_the_zones_of_writer_and_database(landing: Landing) -> None:
    zone = sql.SQL("ALTER DATABASE {} SET timezone = 'America/New_York'").format(
        sql.Identifier(landing.source.database)
    )
    with administrator(landing.source) as connection:
        connection.execute(zone)
    with psycopg.connect(landing.source.url, options="-c timezone=Asia/Kolkata") as connection:
        connection.execute(
            "INSERT INTO retail.sales (order_id, product_id, purchased_at) VALUES (1, 1, '2026-11-01 05:30:00.123456')"
        )
    before = datetime.now(UTC).replace(tzinfo=None)
    landing.load("retail.sales")
    ((purchased_at, updated_at, landed_at),) = landing.query(
        "SELECT purchased_at, updated_at, _landed_at FROM retail.sales"
    )
    assert purchased_at == datetime(2026, 11, 1, 0, 0, 0, 123_456)
    assert before - timedelta(hours=1) < updated_at <= before <= landed_at


def test_tables_without_rows_land_with_the_contracts_columns_and_types(landing: Landing) -> None:
    assert landing.load().complete
    for table in contract().values():
        with duckdb.connect() as memory:
            columns = ", ".join(f"{column.name} {column.type.sql('duckdb')}" for column in table.columns)
            expected = memory.execute(f"CREATE TABLE expected ({columns})").execute("DESCRIBE expected").fetchall()
        found = landing.query(f"DESCRIBE {table}")
        assert [(name, type_) for name, type_, *_ in found] == [(name, type_) for name, type_, *_ in expected]
    assert [(source, table, rows) for source, table, *_, rows in landing.ledger()] == [
        (*table.split("."), 0) for table in ALL
    ]


def test_the_next_load_merges_what_is_new_by_key_and_leaves_the_rest(settled: Landing) -> None:
    (first,) = set(settled.landed_at("edtech.students").values())
    settled.source.execute("UPDATE edtech.students SET last_name = 'Lovelace' WHERE student_id = 1")
    settled.source.execute("UPDATE edtech.students SET deleted_at = now() WHERE student_id = 2")
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    settled.source.execute("UPDATE retail.sales SET quantity = 7 WHERE (order_id, product_id) = (1, 11)")

    told = settled.load("edtech.students", "retail.sales")

    assert {table: load.rows for table, load in told.loads.items()} == {"edtech.students": 3, "retail.sales": 1}
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")
    second = told.started_at
    assert settled.landed_at("edtech.students") == {1: second, 2: second, 3: first, 4: second}
    stamps = settled.query("SELECT order_id, product_id, _landed_at FROM retail.sales ORDER BY ALL")
    assert [at.replace(tzinfo=UTC) for *_, at in stamps] == [first, second, first]


def test_the_ledger_has_a_row_for_every_table_and_load(settled: Landing) -> None:
    first = settled.ledger()
    assert [(source, table, rows) for source, table, *_, rows in first] == [
        ("edtech", "students", 3), ("edtech", "courses", 2), ("edtech", "enrollments", 2), ("retail", "sales", 3),
    ]  # fmt: skip
    starts = {started_at.replace(tzinfo=UTC) for _, _, started_at, *_ in first}
    assert starts == set(settled.landed_at("edtech.students").values())
    settled.source.execute("INSERT INTO edtech.courses (course_name) VALUES ('Algebra')")

    told = settled.load("edtech.courses")

    *before, (source, table, started_at, finished_at, read_from, read_until, rows) = settled.ledger()
    assert before == first
    assert (source, table, rows) == ("edtech", "courses", 1)
    assert started_at.replace(tzinfo=UTC) == told.started_at
    assert read_from == first[1][5], "it goes on where the first one left off"
    assert read_from < read_until < started_at < finished_at


def test_only_the_tables_that_are_named_land(landing: Landing) -> None:
    result = meshflow(landing, "land", "--only", "retail.sales", "--only", "edtech.courses")
    assert result.exit_code == 0, result.output
    assert sorted(f"{source}.{table}" for source, table, *_ in landing.ledger()) == ["edtech.courses", "retail.sales"]
    tables = {f"{schema}.{table}" for (schema, table) in landing.query("SELECT schema, name FROM (SHOW ALL TABLES)")}
    assert tables & set(ALL) == {"edtech.courses", "retail.sales"}


def test_a_full_refresh_reads_everything_again_by_key(settled: Landing) -> None:
    settled.source.execute("UPDATE edtech.students SET last_name = 'Noether' WHERE student_id = 3")
    backdate(settled.source, "edtech.students")
    assert settled.load("edtech.students").loads["edtech.students"].rows == 0, "updated_at doesn't show the change"

    told = settled.load("edtech.students", full=True)

    assert told.read_from == {"edtech.students": None}
    assert told.loads["edtech.students"].rows == 3
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
    assert settled.landed_at("edtech.students") == dict.fromkeys([1, 2, 3], told.started_at)


def test_starts_never_run_backwards_even_if_the_clock_does(settled: Landing) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    assert settled.load("edtech.courses", at=future).started_at == future
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    told = settled.load("edtech.students")
    assert told.started_at == future + timedelta(microseconds=1)
    assert settled.landed_at("edtech.students")[4] == told.started_at


def test_all_tables_are_read_as_they_were_at_one_moment(settled: Landing) -> None:
    def enroll(table: str) -> None:
        if table == "edtech.enrollments":  # the students have landed
            with psycopg.connect(settled.source.url) as connection:
                connection.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
                connection.execute("INSERT INTO edtech.enrollments (student_id, course_id) VALUES (4, 1)")

    before = settled.in_raw("edtech.enrollments")
    told = settled.load(told=Told(on_start=enroll))
    assert list(told.loads) == list(ALL)
    assert settled.in_raw("edtech.enrollments") == before, "an enrollment whose student hasn't landed"
    settled.load()
    for table in ALL:
        assert settled.in_raw(table) == settled.in_source(table)


def test_once_nothing_is_open_a_load_reads_back_a_little_and_no_more(settled: Landing) -> None:
    first = settled.load("edtech.students")
    load = first.loads["edtech.students"]
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")

    second = settled.load("edtech.students")

    assert load.started_at <= second.read_from["edtech.students"] + reader.LAG <= load.finished_at
    assert timedelta(0) < reader.LAG <= timedelta(minutes=1)
    assert second.loads["edtech.students"].rows == 1


def test_a_row_lands_once_its_transaction_commits_however_many_loads_that_takes(
    settled: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LAG", timedelta(0))  # which would hide a row missed
    with psycopg.connect(settled.source.url) as late:
        late.execute("INSERT INTO edtech.students (first_name) VALUES ('late')")
        for name in ("one", "two", "three"):
            insert(settled.source, "edtech.students", [{"first_name": name}])
            during = settled.load("edtech.students")
            assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
            assert name in str(settled.in_raw("edtech.students"))

    after = settled.load("edtech.students")

    assert "late" in str(settled.in_raw("edtech.students"))
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")
    assert settled.landed_at("edtech.students")[4] == after.started_at
    assert settled.load("edtech.students").read_from["edtech.students"] > during.started_at, "nothing is read for ever"


def test_a_correction_that_commits_after_a_load_lands_with_the_next(
    settled: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LAG", timedelta(0))
    with psycopg.connect(settled.source.url) as late:
        late.execute("UPDATE retail.sales SET price = 1 WHERE order_id = 1")
        late.execute("SAVEPOINT here")
        late.execute("UPDATE retail.sales SET price = 2 WHERE order_id = 2")
        settled.load("retail.sales")
    settled.load("retail.sales")
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")
    assert [price for (price,) in settled.query("SELECT price FROM retail.sales ORDER BY order_id")] == [1, 1, 2]


def test_a_writer_hidden_from_the_owner_makes_loads_read_everything(
    postgres: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "LAG", timedelta(0))
    blind, hidden = f"blind_{uuid4().hex[:8]}", f"hidden_{uuid4().hex[:8]}"
    with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(blind)))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(hidden)))
    landing = Landing.new(Applications(postgres, new_database(postgres, blind)), project, tmp_path)
    address = f"127.0.0.1:{postgres.port}/{landing.source.database}"
    with closing(psycopg.connect(f"postgresql://{blind}:p@{address}")) as owner:
        install(owner)
        admit_loader(owner, "loader")
        with owner.transaction():
            owner.execute(sql.SQL("GRANT USAGE ON SCHEMA edtech TO {}").format(sql.Identifier(hidden)))
            owner.execute(sql.SQL("GRANT SELECT, INSERT ON edtech.students TO {}").format(sql.Identifier(hidden)))
            owner.execute("INSERT INTO edtech.students (first_name) VALUES ('first')")
    landing.load("edtech.students")
    with psycopg.connect(f"postgresql://{hidden}:p@{address}") as late:
        late.execute("INSERT INTO edtech.students (first_name) VALUES ('late')")
        during = landing.load("edtech.students")

    after = landing.load("edtech.students")

    assert during.loads["edtech.students"].read_until is None
    assert after.read_from == {"edtech.students": None}
    assert {name for (name,) in landing.query("SELECT first_name FROM edtech.students")} == {"first", "late"}
    assert landing.load("edtech.students").read_from["edtech.students"] > during.started_at, "nothing is open any more"


def test_short_transactions_beside_loads_do_not_make_them_read_everything(source: Applications) -> None:
    """A transaction that ends while the function looks at locks, then at sessions, can be told from a hidden one."""
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(source.url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO edtech.students (first_name) VALUES ('short')")

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        with closing(psycopg.connect(source.loader_url, autocommit=True)) as connection:
            answers = [connection.execute("SELECT meshflow.oldest_write()::text").fetchone() for _ in range(2000)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert ("-infinity",) not in answers


def meshflow(landing: Landing, *arguments: str, **environment: str) -> Result:
    """The `meshflow` command in this process."""
    return CliRunner(env=landing.source.environment | environment).invoke(main, arguments)


def own_contract(landing: Landing, file: str, old: str, new: str) -> None:
    """Give the landing a contract of its own, changed in one place."""
    folder = landing.project / "external_models"
    if folder.is_symlink():
        shared = folder.resolve()
        folder.unlink()
        shutil.copytree(shared, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")


def test_a_new_column_is_reported_and_the_load_goes_on(settled: Landing) -> None:
    settled.source.execute("ALTER TABLE retail.sales ADD coupon text")
    settled.source.execute("INSERT INTO retail.sales (order_id, product_id, coupon) VALUES (3, 10, 'TEN')")
    result = meshflow(settled, "land", "--only", "retail.sales")
    assert result.exit_code == 0, result.output
    (told,) = result.stderr.splitlines()
    for part in ("retail.sales", "coupon (text)", "external_models/retail.yaml", "models/raw/retail/sales.sql"):
        assert part in told
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")


def test_a_column_that_comes_into_the_contract_lands_with_its_past_values(settled: Landing) -> None:
    settled.source.execute("ALTER TABLE retail.sales ADD coupon text, ADD weight numeric(10, 3)")
    settled.source.execute("UPDATE retail.sales SET coupon = 'TEN', weight = 0.125 WHERE order_id = 1")
    settled.load("retail.sales")
    backdate(settled.source, "retail.sales")
    settled.load("retail.sales")
    own_contract(
        settled, "retail.yaml", "    _landed_at:", "    coupon: VARCHAR\n    weight: DECIMAL(10, 3)\n    _landed_at:"
    )

    told = settled.load("retail.sales")

    assert told.new_columns == []
    assert told.read_from == {"retail.sales": None}
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")
    assert settled.query("SELECT coupon, weight FROM retail.sales ORDER BY order_id, product_id") == [
        ("TEN", Decimal("0.125")), ("TEN", Decimal("0.125")), (None, None),
    ]  # fmt: skip
    assert settled.load("retail.sales").loads["retail.sales"].rows == 0, "once is enough"


def test_a_column_that_comes_into_the_contract_of_a_table_without_rows_lands_too(landing: Landing) -> None:
    landing.load("retail.sales")
    landing.source.execute("ALTER TABLE retail.sales ADD coupon text")
    own_contract(landing, "retail.yaml", "    _landed_at:", "    coupon: VARCHAR\n    _landed_at:")
    landing.load("retail.sales")
    assert ("coupon", "VARCHAR") in [(name, type_) for name, type_, *_ in landing.query("DESCRIBE retail.sales")]
    assert landing.load("retail.sales").read_from["retail.sales"], "once is enough"


def test_a_type_that_changes_in_the_contract_lands_with_a_full_refresh(settled: Landing) -> None:
    settled.source.execute("ALTER TABLE retail.sales ALTER price TYPE numeric(20, 4)")
    settled.source.execute("UPDATE retail.sales SET price = 1.2345 WHERE order_id = 1")
    settled.source.execute("ALTER TABLE edtech.courses ALTER credits TYPE bigint")
    settled.source.execute("UPDATE edtech.courses SET credits = 3000000000 WHERE course_id = 1")
    own_contract(settled, "retail.yaml", "price: DECIMAL(18, 2)", "price: DECIMAL(20, 4)")
    own_contract(settled, "edtech.yaml", "credits: INT", "credits: BIGINT")
    before = {table: settled.query(f"FROM {table} ORDER BY ALL") for table in ALL}

    told = settled.load()

    assert list(told.loads) == ["edtech.students", "edtech.enrollments"]
    for table in ("edtech.courses", "retail.sales"):
        assert f"`meshflow land --full-refresh --only {table}` makes it anew" in told.refusals[table]
    assert {table: settled.query(f"FROM {table} ORDER BY ALL") for table in ALL} == before

    anew = settled.load("edtech.courses", "retail.sales", full=True)

    assert anew.complete
    for table in anew.loads:
        assert settled.in_raw(table) == settled.in_source(table)
        assert set(settled.landed_at(table).values()) == {anew.started_at}
    types = {name: type_ for table in anew.loads for name, type_, *_ in settled.query(f"DESCRIBE {table}")}
    assert (types["credits"], types["price"]) == ("BIGINT", "DECIMAL(20,4)")
    for table in ("edtech.students", "edtech.enrollments"):
        assert settled.query(f"FROM {table} ORDER BY ALL") == before[table]
    assert all(settled.load(*anew.loads).read_from.values()), "once is enough"


@pytest.mark.parametrize(
    ("table", "drift", "says"),
    [
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE double precision", "price is double precision"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE numeric", "price is numeric in the application"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER price TYPE numeric(18, 3)", "price is numeric(18,3)"),
        ("retail.sales", "ALTER TABLE retail.sales ALTER quantity TYPE bigint", "quantity is bigint"),
        ("retail.sales", "ALTER TABLE retail.sales RENAME city TO town", "column city is gone"),
        ("edtech.students", "ALTER TABLE edtech.students DROP first_name", "column first_name is gone"),
        ("edtech.students", "ALTER TABLE edtech.students DROP updated_at", "column updated_at is gone"),
        ("edtech.students", "DROP TABLE edtech.students", "the application has no such table"),
        ("edtech.students", "ALTER TABLE edtech.students RENAME TO pupils", "the application has no such table"),
        ("edtech.students", "ALTER TABLE edtech.students DROP CONSTRAINT students_pkey", "no primary key or unique"),
        (
            "retail.sales",
            "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD PRIMARY KEY (order_id, product_id, created_at)",
            "no primary key or unique index on (order_id, product_id)",
        ),
        ("retail.sales", "REVOKE SELECT ON retail.sales FROM loader", "permission denied for table sales"),
        ("edtech.students", "REVOKE USAGE ON SCHEMA edtech FROM loader", "permission denied for schema edtech"),
        (
            "retail.sales",
            "ALTER TABLE retail.sales DROP CONSTRAINT sales_price_check; UPDATE retail.sales SET price = 'NaN'",
            "column price holds a value that isn't a DECIMAL(18, 2)",
        ),
        ("edtech.students", "UPDATE edtech.students SET deleted_at = 'infinity'", "column deleted_at holds"),
        ("edtech.students", "UPDATE edtech.students SET deleted_at = '-infinity'", "column deleted_at holds"),
        ("edtech.students", "UPDATE edtech.students SET deleted_at = '294276-12-31'", "column deleted_at holds"),
        ("edtech.students", "UPDATE edtech.students SET date_of_birth = 'infinity'", "column date_of_birth holds"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_land_as_agreed_is_refused_alone(
    settled: Landing, table: str, drift: str, says: str
) -> None:
    other = "retail.sales" if table == "edtech.students" else "edtech.students"
    before = settled.query(f"FROM {table} ORDER BY ALL")
    settled.source.execute("UPDATE edtech.students SET last_name = 'new'")
    settled.source.execute("UPDATE retail.sales SET cust_name = 'new'")
    with psycopg.connect(settled.source.url) as application:
        application.execute(drift.encode())

    told = settled.load(table, other)

    assert not told.complete
    assert list(told.refusals) == [table]
    assert says in told.refusals[table]
    assert table in told.refusals[table]
    assert "\n" not in told.refusals[table]
    assert settled.query(f"FROM {table} ORDER BY ALL") == before, "RAW has changed"
    assert settled.in_raw(other) == settled.in_source(other)
    assert [f"{source}.{name}" for source, name, *_ in settled.ledger()[4:]] == [other]


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE retail.sales ALTER city TYPE varchar(40)",
        "ALTER TABLE retail.sales ALTER city TYPE varchar",
        "ALTER TABLE retail.sales ALTER quantity TYPE smallint",
        "ALTER TABLE retail.sales ALTER price TYPE numeric(10, 1)",
        "ALTER TABLE retail.sales DROP CONSTRAINT sales_pkey, ADD UNIQUE (product_id, order_id)",
    ],
)
def test_a_change_that_every_value_survives_is_none_of_our_business(settled: Landing, drift: str) -> None:
    with psycopg.connect(settled.source.url) as application:
        application.execute(drift.encode())
    settled.source.execute("UPDATE retail.sales SET city = 'Utrecht', quantity = 32767, price = 9.9")
    told = settled.load("retail.sales")
    assert (told.complete, told.new_columns) == (True, [])
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")


def test_a_refused_table_is_one_line_and_exit_status_1(settled: Landing) -> None:
    settled.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    result = meshflow(settled, "land")
    assert result.exit_code == 1
    assert the_error(result.stderr).startswith("Error: edtech.students: no primary key")
    summary = {words[1]: words[-2] for line in result.stdout.splitlines() if len(words := line.split()) > 5}
    assert {table: summary[table] for table in ALL} == dict.fromkeys(ALL, "landed") | {"edtech.students": "refused"}


def test_machines_are_told_in_json(settled: Landing) -> None:
    settled.source.execute("ALTER TABLE edtech.students DROP CONSTRAINT students_pkey")
    settled.source.execute("ALTER TABLE retail.sales ADD coupon text")
    result = meshflow(settled, "land", "--json", "--only", "edtech.students", "--only", "retail.sales")
    assert result.exit_code == 1
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(event["event"], event.get("table")) for event in events] == [
        ("refused", "edtech.students"),
        ("new_column", "retail.sales"),
        ("started", "retail.sales"),
        ("landed", "retail.sales"),
    ]


def test_an_error_shows_what_stands_in_brackets(settled: Landing) -> None:
    """Which the library that prints it would take for a colour."""
    settled.source.execute('CREATE DOMAIN retail."[bold]" AS text')
    settled.source.execute('ALTER TABLE retail.sales ADD "[red]" text, ALTER city TYPE retail."[bold]"')
    result = meshflow(settled, "land", "--only", "retail.sales")
    assert 'column city is retail."[bold]" in the application' in the_error(result.stderr)
    settled.source.execute("ALTER TABLE retail.sales ALTER city TYPE text")
    result = meshflow(settled, "land", "--only", "retail.sales")
    assert "retail.sales has a new column, [red] (text)" in result.stderr


def test_no_row_lands_if_the_last_of_many_does_not_fit(settled: Landing) -> None:
    """Rows come in batches of 16 MB; these are two."""
    settled.source.execute("ALTER TABLE retail.sales DROP CONSTRAINT sales_price_check")
    settled.source.execute(
        "INSERT INTO retail.sales (order_id, product_id, city, price) "
        "SELECT id, 1, repeat(md5(id::text), 4000), CASE WHEN id = 9999 THEN 'NaN'::numeric ELSE 1 END "
        "FROM generate_series(9800, 9999) AS id"
    )
    before = settled.query("FROM retail.sales ORDER BY ALL")
    told = settled.load("retail.sales")
    assert list(told.refusals) == ["retail.sales"]
    assert settled.query("FROM retail.sales ORDER BY ALL") == before

    settled.source.execute("UPDATE retail.sales SET price = 0 WHERE order_id = 9999")
    assert settled.load("retail.sales").complete
    assert settled.in_raw("retail.sales") == settled.in_source("retail.sales")


@contextmanager
def frozen_load(landing: Landing, last: int, **environment: str) -> Iterator[tuple[Process, psycopg.Connection]]:
    """`meshflow land` in another process, frozen in the middle of edtech.students, of which it has read all but `last`.

    That row can't be read before the connection does pg_advisory_unlock_all().
    """
    landing.source.execute("UPDATE edtech.students SET email = 'new'")
    landing.source.execute("ALTER TABLE edtech.students ENABLE ROW LEVEL SECURITY")
    landing.source.execute(
        "CREATE POLICY frozen ON edtech.students "
        f"USING (student_id <> {last} OR pg_advisory_xact_lock_shared(1) IS NOT NULL)"
    )
    waiting = (
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    with closing(psycopg.connect(landing.source.url, autocommit=True)) as application:
        application.execute("SELECT pg_advisory_lock(1)")
        process = landing.start(**environment)
        try:
            wait_until(lambda: landing.source.execute(waiting), process)
            yield process, application
        finally:
            process.kill()
            process.communicate()


def test_a_second_load_leaves_everything_to_the_first(settled: Landing) -> None:
    with frozen_load(settled, 3) as (first, _):
        second = settled.start()
        output, errors = second.communicate()
        assert (second.returncode, output) == (0, "")
        assert f"another load holds the lock, meshflow on {socket.gethostname()}, process {first.pid}" in errors


def test_the_next_load_heals_one_that_was_killed(settled: Landing) -> None:
    with frozen_load(settled, 3) as (first, _):
        first.kill()
    assert (settled.data / "landing").exists(), "it left its working folder"

    told = settled.load()

    assert told.complete
    for table in ALL:
        assert settled.in_raw(table) == settled.in_source(table)
    assert set(settled.landed_at("edtech.students").values()) == {told.started_at}
    assert len(settled.ledger()) == 8, "the killed one is in the ledger"
    assert not (settled.data / "landing").exists()


def test_a_load_without_its_lock_does_not_finish(settled: Landing) -> None:
    holders = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE datname = %s AND locktype = 'advisory' AND granted AND application_name LIKE 'meshflow on %%'"
    )
    with frozen_load(settled, 3) as (process, application):
        with administrator(settled.source) as connection:
            assert connection.execute(holders, [settled.source.database]).fetchall() == [(True,)]
        application.execute("SELECT pg_advisory_unlock_all()")
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "terminating connection due to administrator command" in the_error(errors)
    assert len(settled.ledger()) == 4


def test_a_load_says_so_if_the_application_goes_between_two_tables(settled: Landing) -> None:
    class Terminator(Told):
        def finished(self, load: Load) -> None:
            super().finished(load)
            with administrator(settled.source) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND usename = 'loader'"
                )

    told = Terminator()
    with pytest.raises(click.ClickException, match=r"PostgreSQL at loader@.*: terminating connection"):
        settled.load("edtech.students", "edtech.courses", told=told)
    assert list(told.loads) == ["edtech.students"]
    assert len(settled.ledger()) == 5


def test_rows_whose_load_never_came_into_the_ledger_land_again(
    settled: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    monkeypatch.setattr(Ledger, "record", die)
    with pytest.raises(KeyboardInterrupt):
        settled.load("edtech.students")
    monkeypatch.undo()
    monkeypatch.chdir(settled.project)
    assert len(settled.landed_at("edtech.students")) == 4
    told = settled.load("edtech.students")
    assert settled.landed_at("edtech.students")[4] == told.started_at, "an interval that was open when the row came"
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")


def test_rows_that_a_load_had_read_when_it_died_are_read_anew(
    settled: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('gone by the next load')")
    work, aside = settled.data / "landing", settled.project / "aside"

    def die(*_: object, **__: object) -> None:
        shutil.copytree(work, aside)  # which SIGKILL would leave in its place
        raise OSError("died")

    monkeypatch.setattr("dlt.load.load.Load.run", die)
    with pytest.raises(click.ClickException, match="died"):
        settled.load("edtech.students")
    monkeypatch.undo()
    monkeypatch.chdir(settled.project)
    aside.rename(work)
    assert list(work.glob("**/students.*.parquet")), "the rows are on disk, ready to be written"
    settled.source.execute("DELETE FROM edtech.students WHERE student_id = 4")
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    assert settled.load("edtech.students").complete
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")


def test_what_needs_more_memory_than_a_load_begins_with_has_it(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing.source.execute(
        "INSERT INTO edtech.students (first_name, last_name, email) "
        "SELECT md5((3 * i)::text), md5((3 * i + 1)::text), md5((3 * i + 2)::text) FROM generate_series(1, 50000) AS i"
    )
    tries, load = [], Pipeline.load

    def counted(pipeline: Pipeline, *arguments: object, **options: object) -> object:
        tries.append(pipeline)
        return load(pipeline, *arguments, **options)

    monkeypatch.setattr(Pipeline, "load", counted)
    monkeypatch.setattr("meshflow.landing.destination.MEMORY", "1MB")
    assert landing.load("edtech.students").complete
    assert len(tries) == 2, "with a megabyte it can't"
    assert landing.in_raw("edtech.students") == landing.in_source("edtech.students")


def test_a_load_that_fails_keeps_no_session_in_the_application(
    settled: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    settled.source.execute("UPDATE retail.sales SET quantity = 2")
    monkeypatch.setattr("dlt.common.data_writers.buffered.BufferedDataWriter.write_data_item", fail)
    with pytest.raises(click.ClickException, match=r"retail\.sales can't be written to RAW: No space left on device"):
        settled.load("retail.sales")
    sessions = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND usename = 'loader'"
    assert settled.source.execute(sessions) == []


def test_a_load_waits_for_another_process_to_leave_the_database(settled: Landing) -> None:
    settled.source.execute("INSERT INTO edtech.students (first_name) VALUES ('Lise')")
    hold = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, settled.raw], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        told = settled.load("edtech.students", told=Told(on_wait=holder.communicate))
    assert told.complete
    assert len(told.waits) == 1
    assert f"process {holder.pid}" in told.waits[0]
    assert settled.in_raw("edtech.students") == settled.in_source("edtech.students")


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (10_000, "landed_raw.duckdb can't be opened"),
        (100_000, "edtech.students can't be written to RAW: [Errno 27] File too large"),
        (1_000_000, "edtech.students can't be written to RAW"),
    ],
)
def test_the_next_load_heals_one_that_ran_out_of_disk(landing: Landing, limit: int, says: str) -> None:
    """A limit on the size of files stands in for a full disk: hits RAW's header, the loader's own files, RAW's rows."""
    landing.source.execute(
        "INSERT INTO edtech.students (first_name) SELECT repeat(md5(id::text), 100) FROM generate_series(1, 1000) AS id"
    )
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    process = landing.start(program=(sys.executable, "-c", f"{limited} from meshflow.cli import main; main()"))
    _, errors = process.communicate()
    assert process.returncode == 1
    assert says in the_error(errors)

    told = landing.load()

    assert told.complete
    for table in ALL:
        assert landing.in_raw(table) == landing.in_source(table)
        assert set(landing.landed_at(table).values()) <= {told.started_at}
    assert len(landing.ledger()) == 4


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL to kill, that knows prepared transactions."""
    server = Server(tmp_path_factory.mktemp("own_server"))
    server.up()
    with closing(psycopg.connect(server.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 4")
        connection.execute("ALTER SYSTEM SET fsync = off")
    server.down()
    server.up()
    yield server
    server.down()


def test_a_prepared_transaction_lands_once_it_commits(
    own_server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "LAG", timedelta(0))
    landing = Landing.new(Applications.new(own_server), project, tmp_path)
    with closing(psycopg.connect(landing.source.url)) as application:
        application.execute("INSERT INTO edtech.students (first_name) VALUES ('prepared')")
        application.execute("PREPARE TRANSACTION 'late'")
    during = landing.load("edtech.students")
    assert landing.in_raw("edtech.students") == []
    assert during.loads["edtech.students"].read_until is None
    with closing(psycopg.connect(landing.source.url, autocommit=True)) as application:
        application.execute("COMMIT PREPARED 'late'")

    landing.load("edtech.students")

    assert landing.in_raw("edtech.students") == landing.in_source("edtech.students") != []
    assert landing.load("edtech.students").read_from["edtech.students"] > during.started_at, "none is open any more"


def test_the_next_load_heals_one_whose_server_crashed(
    own_server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    landing = Landing.new(Applications.new(own_server), project, tmp_path)
    insert(landing.source, "edtech.students", [{"first_name": name} for name in ("Ada", "Grace", "Emmy")])
    with frozen_load(landing, 3) as (process, _):
        os.kill(int((own_server.cluster / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)  # -m immediate
        _, errors = process.communicate()
    assert process.returncode == 1
    assert f"PostgreSQL at loader@127.0.0.1:{own_server.port}" in the_error(errors)
    assert landing.ledger() == []

    while own_server.is_running:
        time.sleep(0.01)
    own_server.up()
    told = landing.load("edtech.students")

    assert told.complete
    assert landing.in_raw("edtech.students") == landing.in_source("edtech.students")
    assert set(landing.landed_at("edtech.students").values()) == {told.started_at}


@dataclass(frozen=True)
class Failures:
    """What `meshflow land` said in each of FAILURES, with a loader whose password is AWKWARD."""

    landing: Landing
    outputs: dict[str, tuple[int, str, str]]
    """Exit status, standard output, standard error."""


FAILURES = {
    "wrong password": 'password authentication failed for user "awkward"',
    "unknown host": "failed to resolve host 'nowhere.invalid'",
    "closed port": "Connection refused",
    "no database": 'database "missing" does not exist',
    "no schema": 'schema "meshflow" does not exist. `meshflow source up` makes what a load needs',
    "no folder for data": "missing: make it, or set MESHFLOW_DATA to one that exists",
    "no URL": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "a bare @ in the password": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "a bare / in the password": "MESHFLOW_SOURCE_URL or MESHFLOW_LOADER_URL is no URL",
    "no such table": "There is no table retail.orders to land: choose from edtech.students, edtech.courses",
    "RAW is no database": "landed_raw.duckdb can't be opened: IO Error: The file",
    "RAW is damaged": "landed_raw.duckdb can't be opened",
    "RAW is held by another process": f"process {os.getpid()} has",
}


@pytest.fixture(scope="module")
def awkward(postgres: Server) -> str:
    """A role whose password is AWKWARD."""
    with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE awkward LOGIN PASSWORD {}").format(sql.Literal(AWKWARD)))
    return "awkward"


@pytest.fixture(scope="module")
def failures(after_a_load: Landing, awkward: str, tmp_path_factory: pytest.TempPathFactory) -> Failures:
    landing = after_a_load.clone(tmp_path_factory.mktemp("failures"))
    with closing(psycopg.connect(landing.source.url)) as owner:
        admit_loader(owner, awkward)
    landing.source.execute("UPDATE edtech.students SET last_name = 'new'")
    landing.source.execute("UPDATE retail.sales SET quantity = 2")
    server = landing.source.server
    empty = new_database(server, "application")
    password = quote(AWKWARD, safe="")

    def url(
        password: str = password, place: str = f"127.0.0.1:{server.port}", database: str = landing.source.database
    ) -> str:
        return f"postgresql://{awkward}:{password}@{place}/{database}"

    def data(name: str, change: Callable[[bytearray], object]) -> str:
        content = bytearray(landing.raw.read_bytes())
        change(content)
        (landing.project / name).mkdir()
        (landing.project / name / landing.raw.name).write_bytes(content)
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
        process = landing.start(*arguments.get(name, []), **{loader: url()} | environments[name])
        output, errors = process.communicate()
        return process.returncode, output, errors

    held = landing.project / "held" / landing.raw.name
    with duckdb.connect(str(held)), ThreadPoolExecutor(3) as pool:
        return Failures(landing, dict(zip(FAILURES, pool.map(run, FAILURES), strict=True)))


@pytest.mark.parametrize("name", FAILURES)
def test_a_load_that_cannot_begin_says_why_in_one_line(failures: Failures, name: str) -> None:
    status, output, errors = failures.outputs[name]
    assert (status, output) == (1, "")
    assert FAILURES[name] in the_error(errors)
    assert len(errors.splitlines()) == 1


def test_after_loads_that_could_not_begin_the_next_one_lands_everything(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(failures.landing.project)
    assert len(failures.landing.ledger()) == 4
    told = failures.landing.load()
    assert told.complete
    for table in ALL:
        assert failures.landing.in_raw(table) == failures.landing.in_source(table)
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
    settled: Landing, awkward: str, failures: Failures
) -> None:
    with closing(psycopg.connect(settled.source.url)) as owner:
        admit_loader(owner, awkward)
    server = settled.source.server
    url = f"postgresql://{awkward}:{quote(AWKWARD, safe='')}@127.0.0.1:{server.port}/{settled.source.database}"
    with frozen_load(settled, 3, MESHFLOW_LOADER_URL=url) as (process, application):
        commands = {path: read(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        files = {path: read(path) for path in settled.data.rglob("*") if path.is_file()}
        assert f"/proc/{process.pid}/cmdline" in map(str, commands)
        assert settled.data / "landing" in {parent for path in files for parent in path.parents}
        application.execute("SELECT pg_advisory_unlock_all()")
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
