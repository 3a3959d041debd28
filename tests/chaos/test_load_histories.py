"""After any history of its sources and loads, one plain load makes RAW equal the source, row by row.

Whatever has changed in RAW is dated after the plain load before, so that models find it. A finished load says that it
has brought rows, so that the signal lets them run.

Four tables take part. Loads of retail.sales use the time cursor while its trigger is trusted. Those of
edtech.enrollments use `xmin`: it has no index on updated_at. shop.readings has partitions, and rows with a key or
a value that doesn't fit. shop.visits has no key. Sources, loads, kills and RAW are real.

Every execution draws other histories. A failure prints the seed, and `MESHFLOW_SEED=… make chaos-test` repeats it.
`make chaos-long` draws a thousand.
"""

import os
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import psycopg
import pytest
from killable import Attempt, Kill, finish
from loads import LoadPipeline, RecordingReporter, add_contract, wait_for_loads_to_end
from sources import SourceDatabase

from meshflow.loading.load import session
from meshflow.loading.reconcile import reconcile_all
from meshflow.loading.report import JsonReporter
from meshflow.source.server import Server

pytest_plugins = ("load_fixtures",)
pytestmark = pytest.mark.usefixtures("no_margins")

GROUPS = int(os.environ.get("MESHFLOW_LOAD_HISTORIES") or 20) // 20
GROUP = 20
"""Histories on one pair of databases, each of which goes on from the one before."""
TABLES = {
    "retail.sales": "order_id, product_id",
    "edtech.enrollments": "enrollment_id",
    "shop.readings": "reading_id",
    "shop.visits": "visit_id",
}
"""The columns that are unique in a table. Of shop.visits, the contract doesn't know it."""
COLUMNS = {
    "retail.sales": "quantity",
    "edtech.enrollments": "course_id",
    "shop.readings": "level",
    "shop.visits": "level",
}
"""The column that the history changes."""
MAINTAINED = ("retail.sales", "edtech.enrollments")
"""The tables with updated_at and deleted_at."""
SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.readings (reading_id numeric PRIMARY KEY, level integer, ratio float8) PARTITION BY HASH (reading_id);
CREATE TABLE shop.readings_0 PARTITION OF shop.readings FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.readings_1 PARTITION OF shop.readings FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE shop.visits (visit_id integer PRIMARY KEY, level integer, ratio float8);
GRANT USAGE ON SCHEMA shop TO loader, source;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO loader, source
"""
FITTING = "reading_id NOT IN ('NaN', 'Infinity') AND ratio IS DISTINCT FROM 'NaN'"
"""The rows of shop.readings that RAW can have."""
KEYS = range(1, 9)
"""Keys of rows that short transactions write. Those of long ones are the next, so that they never wait."""

BLOCKED = psycopg.errors.LockNotAvailable, psycopg.errors.NotNullViolation, psycopg.errors.CheckViolation
"""A long transaction is in the way; or no trigger has set created_at; or the row's partition is detached."""


@dataclass
class History:
    """The steps of one history. Each draws what it does, and is one transaction unless it says otherwise."""

    pipeline: LoadPipeline
    random: Random
    log: Path
    open: list[psycopg.Connection] = field(default_factory=list)
    """Long transactions that have written."""
    prepared: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    cursors: Counter[str] = field(default_factory=Counter)
    kills: int = 0

    def execute(self, *statements: str, options: str = "") -> None:
        """Execute in one transaction, or none of them if a long transaction is in the way."""
        self.steps += statements
        with suppress(*BLOCKED), self.connect(options) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def connect(self, options: str = "", **parameters: Any) -> psycopg.Connection:
        return psycopg.connect(
            self.pipeline.source.server.url("postgres", self.pipeline.source.database),
            options=f"-c lock_timeout=50 {options}",
            **parameters,
        )

    def write(self, keys: range = KEYS) -> str:
        """A statement that inserts, updates or deletes one row."""
        table = self.random.choice(list(TABLES))
        key, number = self.random.choice(keys), self.random.randrange(100)
        names, column = TABLES[table], COLUMNS[table]
        values = f"{key}, 1" if table == "retail.sales" else f"{key}"
        if table == "shop.readings" and self.random.random() < 0.3:
            unfit = self.random.choice(["'NaN'", "'Infinity'"])
            upsert = f"ON CONFLICT (reading_id) DO UPDATE SET level = {number}"
            return self.random.choice(
                [
                    f"UPDATE {table} SET ratio = 'NaN' WHERE reading_id = {key}",
                    f"UPDATE {table} SET ratio = 1 WHERE reading_id = {key}",
                    f"INSERT INTO {table} (reading_id, level) VALUES ({unfit}, {number}) {upsert}",
                    f"DELETE FROM {table} WHERE reading_id = {unfit}",
                ]
            )
        first = names.split(",")[0]
        other = self.random.choice(keys)
        insert = f"INSERT INTO {table} ({names}, {column}) VALUES ({values}, {number})"
        exists = f"EXISTS (SELECT 1 FROM {table} WHERE {first} = {key})"
        return self.random.choice(
            [
                f"{insert} ON CONFLICT DO NOTHING",
                f"{insert} ON CONFLICT ({names}) DO UPDATE SET {column} = {number}",
                f"UPDATE {table} SET {column} = {number} WHERE {first} = {key}",
                *([f"UPDATE {table} SET deleted_at = now() WHERE {first} = {key}"] if table in MAINTAINED else []),
                f"DELETE FROM {table} WHERE {first} = {key}",
                f"UPDATE {table} SET {first} = {key} WHERE {first} = {other} AND NOT {exists}",
            ]
        )

    def short_transaction(self) -> None:
        self.execute(*(self.write() for _ in range(self.random.randrange(1, 4))))

    def subtransaction(self) -> None:
        end = self.random.choice(["RELEASE inner_", "ROLLBACK TO inner_"])
        self.execute(self.write(), "SAVEPOINT inner_", self.write(), end, self.write())

    def long_transaction(self) -> None:
        """It writes now, and ends in a later step."""
        keys = range(10 * (len(self.open) + len(self.prepared) + 1), 10 * (len(self.open) + len(self.prepared) + 1) + 3)
        connection = self.connect()
        statements = [self.write(keys), "SAVEPOINT inner_", self.write(keys)]
        self.steps += ["BEGIN", *statements]
        try:
            for statement in statements:
                connection.execute(statement.encode())
        except BLOCKED:
            connection.close()
            return
        self.open.append(connection)

    def end_transaction(self) -> None:
        if not self.open:
            return
        connection = self.open.pop(self.random.randrange(len(self.open)))
        end = self.random.choice(["commit", "rollback", *(["prepare"] if len(self.prepared) < 3 else [])])
        self.steps.append(end)
        with closing(connection):
            if end == "prepare":
                self.prepared.append(f"transaction {self.random.random()}")
                connection.execute(f"PREPARE TRANSACTION '{self.prepared[-1]}'".encode())
            else:
                getattr(connection, end)()

    def end_prepared(self) -> None:
        if self.prepared:
            name = self.prepared.pop()
            statement = f"{self.random.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{name}'"
            self.steps.append(statement)
            with closing(self.connect(autocommit=True)) as connection:
                connection.execute(statement.encode())

    def vacuum(self) -> None:
        table = self.random.choice(list(TABLES))
        how = self.random.choice(["FREEZE", "FULL, FREEZE", "FULL"])
        self.steps.append(f"VACUUM ({how}) {table}")
        with suppress(*BLOCKED), closing(self.connect(autocommit=True)) as connection:
            connection.execute(f"VACUUM ({how}) {table}".encode())

    def truncate(self) -> None:
        table = self.random.choice(list(TABLES))
        self.execute(f"TRUNCATE {table}", *([self.write()] if self.random.random() < 0.5 else []))

    def restore(self) -> None:
        """Write without triggers, with an old updated_at."""
        table = self.random.choice(MAINTAINED)
        self.execute(
            f"ALTER TABLE {table} DISABLE TRIGGER USER",
            f"UPDATE {table} SET updated_at = updated_at - interval '1 hour', {COLUMNS[table]} = -1",
            f"ALTER TABLE {table} ENABLE TRIGGER USER",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER set_updated_at",
        )

    def replicate(self) -> None:
        """Write as a subscription to another server does: ordinary triggers don't fire."""
        self.execute(self.write(), options="-c session_replication_role=replica")

    def remake(self) -> None:
        """Give a table other rows under its name, or a column other values, none of them new."""
        table = self.random.choice(list(TABLES))
        column = COLUMNS[table]
        self.execute(
            f"ALTER TABLE {table} DROP {column}, ADD {column} integer DEFAULT {self.random.randrange(100)}"
            if self.random.random() < 0.5
            else f"ALTER TABLE {table} ALTER {column} TYPE integer USING {column} + 1"
        )

    def exchange_partition(self) -> None:
        """Detach a partition, or attach it again. Its rows keep their transactions."""
        attached = "EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = 'shop.readings_1'::regclass)"
        with self.connect() as connection:
            [is_attached] = connection.execute(f"SELECT {attached}".encode()).fetchone() or ()
        self.execute(
            "ALTER TABLE shop.readings DETACH PARTITION shop.readings_1"
            if is_attached
            else "ALTER TABLE shop.readings ATTACH PARTITION shop.readings_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
        )

    def repair(self) -> None:
        """Reconcile all tables, and mark what is missing in the source."""
        self.steps.append("reconcile --repair")
        with session(self.pipeline.source.loader_url, "live", self.pipeline.data, 30, JsonReporter()) as opened:
            assert opened
            assert reconcile_all(opened, JsonReporter(), repair=True)

    def load(self) -> None:
        """All tables or some. A table that is rewritten meanwhile may be rejected."""
        tables = self.random.choice([(), (), tuple(TABLES)[::2], tuple(TABLES)[1:]])
        changes = [self.short_transaction, self.truncate, self.remake, self.exchange_partition]
        meanwhile = self.random.choice([list, list, *changes])
        reporter = RecordingReporter(on_start=lambda _: meanwhile())
        self.steps.append(f"load {tables} and {getattr(meanwhile, '__name__', '')}")
        self.pipeline.load(*(tables or TABLES), reporter=reporter, full=self.random.random() < 0.05)
        self.cursors.update(str(cursor).split()[0] for cursor in reporter.cursors.values())

    def kill_load(self) -> None:
        kill = Kill(statements=self.random.randrange(60))
        self.steps.append(f"load, killed after {kill.statements} statements")
        attempt = Attempt("load", partial(self.pipeline.load, *TABLES), self.log, kill, 0)
        finish([attempt])
        self.kills += attempt.was_killed_midway
        wait_for_loads_to_end(self.pipeline.source)

    def step(self) -> None:
        often = [self.short_transaction, self.short_transaction, self.subtransaction, self.long_transaction]
        often += [self.end_transaction, self.end_prepared, self.load, self.load, self.kill_load]
        rarely = [self.vacuum, self.truncate, self.restore, self.replicate, self.remake, self.repair]
        rarely += [self.exchange_partition]
        self.random.choice(often * 3 + rarely)()

    def end(self) -> None:
        while self.open:
            self.end_transaction()
        while self.prepared:
            self.end_prepared()


@dataclass(frozen=True)
class Raw:
    """A table of RAW after a load that began `at`."""

    at: datetime
    rows: dict[tuple[Any, ...], tuple[Any, ...]]
    """By key: all columns of the source, and whether the row is deleted."""
    loaded_at: dict[tuple[Any, ...], datetime]

    @classmethod
    def after_load(cls, pipeline: LoadPipeline, table: str, at: datetime) -> "Raw":
        deleted_at = "_deleted_at, deleted_at" if table in MAINTAINED else "_deleted_at"
        columns = f"COLUMNS(* EXCLUDE (_loaded_at, {deleted_at}))"
        found = pipeline.query(
            f"SELECT {TABLES[table]}, _loaded_at, {columns}, COALESCE({deleted_at}) IS NULL FROM {table}"
        )
        width = len(TABLES[table].split(", "))
        rows = {row[:width]: row[width + 1 :] for row in found}
        return cls(at.replace(tzinfo=None), rows, {row[:width]: row[width] for row in found})

    def require_dated_changes(self, later: "Raw", loads: list[tuple[datetime, int]]) -> None:
        """All rows that differ `later` were loaded in between. `loads`: start and row count of the finished ones.

        A row that isn't in RAW any more was replaced with all others, which are dated.
        """
        for key in later.rows:
            if self.rows.get(key) != later.rows[key]:
                assert self.at < later.loaded_at[key] <= later.at, key
        brought = max(later.loaded_at.values(), default=self.at)
        assert brought <= self.at or any(count and start >= brought for start, count in loads)


def new_pipeline(server: Server, project: Path, root: Path) -> LoadPipeline:
    """A source whose columns a history may drop and add, and no load yet."""
    root.mkdir()
    pipeline = LoadPipeline.new(SourceDatabase.new(server), project, root)
    with psycopg.connect(server.url("postgres", pipeline.source.database)) as connection:
        connection.execute("DROP INDEX edtech.enrollments_updated_at")
        # As `remake` does, so that INT fits both.
        connection.execute("ALTER TABLE edtech.enrollments ALTER course_id TYPE integer")
        connection.execute(SHOP.encode())
    columns = {"level": "INT", "ratio": "DOUBLE"}
    add_contract(pipeline, "shop.readings", "reading_id", {"reading_id": "DECIMAL(20, 0)", **columns})
    add_contract(pipeline, "shop.visits", None, {"visit_id": "INT", **columns})
    return pipeline


def finished_loads(pipeline: LoadPipeline, table: str) -> list[tuple[Any, ...]]:
    """Start and row count of the finished loads."""
    return pipeline.query(
        "SELECT started_at, row_count FROM loader.loads "
        f"WHERE finished_at IS NOT NULL AND source || '.' || table_name = '{table}'"
    )


def seeds() -> list[int]:
    """MESHFLOW_SEED, or as many random ones as there are groups."""
    if seed := os.environ.get("MESHFLOW_SEED"):
        return [int(seed)]
    return [SystemRandom().randrange(2**32) for _ in range(GROUPS)]


def test_after_any_history_one_plain_load_makes_raw_equal_the_source(
    own_server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursors: Counter[str] = Counter()
    kills = 0
    for seed in seeds():
        pipeline = new_pipeline(own_server, project, tmp_path / str(seed))
        monkeypatch.chdir(pipeline.project)
        random = Random(seed)  # noqa: S311
        before: dict[str, Raw] = {}
        for number in range(GROUP):
            history = History(pipeline, random, tmp_path / "log")
            for _ in range(random.randrange(5, 25)):
                history.step()
            history.end()
            reporter = pipeline.load(*TABLES)
            story = [f"MESHFLOW_SEED={seed}, history {number}", *history.steps, *reporter.rejections.values()]
            assert reporter.complete, "\n".join(story)
            for table in TABLES:
                expected = pipeline.in_source(table, FITTING if table == "shop.readings" else "true")
                assert pipeline.in_raw(table) == expected, "\n".join([*story, table])
                assert reporter.started_at
                after = Raw.after_load(pipeline, table, reporter.started_at)
                if table in before:
                    try:
                        before[table].require_dated_changes(after, finished_loads(pipeline, table))
                    except AssertionError as error:
                        raise AssertionError("\n".join([*story, table])) from error
                before[table] = after
            cursors.update(history.cursors)
            kills += history.kills
    print(f"{GROUPS * GROUP} histories, {dict(cursors)}, {kills} kills")  # noqa: T201 - shown by `make chaos-long`
    if not os.environ.get("MESHFLOW_SEED"):
        assert min(cursors[name] for name in ("updated_at", "xmin", "all")) > GROUPS, cursors
        assert kills > GROUPS
