"""`meshflow source add`: files for tables that nobody made for meshflow. The project then lints, tests and builds."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from loads import LoadPipeline
from sources import SourceDatabase, new_database, new_state
from sqlglot import exp
from sqlmesh.core.context import Context
from workspace import Workspace, plan, run

from meshflow.cli import main
from meshflow.loading.contract import contract
from meshflow.source import add as add_module
from meshflow.source.files import RESERVED
from meshflow.source.server import BIN, Server
from meshflow.source.tables import SourceColumn

PGBENCH = ("public.pgbench_accounts", "public.pgbench_branches", "public.pgbench_history", "public.pgbench_tellers")
ADDED = (
    *PGBENCH,
    "types.every_type",
    "types.domains",
    "Words.Order",
    "Words.out",
    "Words.select",
    "Words.userAccounts",
)

STATEMENTS = (
    "CREATE SCHEMA types",
    "CREATE TYPE types.mood AS ENUM ('secret_sad', 'secret_ok')",
    "CREATE TYPE types.pair AS (x int, y text)",
    "CREATE DOMAIN types.amount AS numeric(12, 2)",
    "CREATE DOMAIN types.price AS types.amount NOT NULL",
    "CREATE EXTENSION IF NOT EXISTS citext",
    """
    CREATE TABLE types.every_type (
      id uuid PRIMARY KEY, a_bigint bigint, an_integer integer NOT NULL, a_smallint smallint, a_boolean boolean,
      a_date date, a_time time, a_timetz timetz, a_timestamp timestamp, a_timestamptz timestamptz,
      a_numeric numeric, a_decimal numeric(18, 2),
      a_real real, a_double double precision, a_bytea bytea, a_text text, a_varchar varchar(40), a_char char(8),
      a_citext citext, a_mood types.mood, a_json json, a_jsonb jsonb, an_array text[], numbers int[],
      an_interval interval, an_inet inet, a_macaddr macaddr, a_range int4range, a_pair types.pair, a_money money,
      an_xml xml, a_bit bit(3), a_point point, a_tsvector tsvector,
      generated text GENERATED ALWAYS AS (a_text || '!') STORED
    )
    """,
    "COMMENT ON TABLE types.every_type IS 'It''s a {{ jinja }} table /* of @EVAL(1) */'",
    "COMMENT ON COLUMN types.every_type.a_text IS E'A text''s\\n{% comment %} */ with @macro'",
    """
    INSERT INTO types.every_type (id, an_integer, a_bigint, a_numeric, a_text, a_mood, a_jsonb, an_inet, a_date)
    VALUES (
      'deadbeef-0000-4000-8000-00000000cafe', 867530, 8675309867, 271828.1828, 'secret text', 'secret_sad',
      '{"secret": 1}', '203.0.113.77', '1987-06-05'
    )
    """,
    """
    CREATE TABLE types.domains (
      code char(3), price types.price, large numeric(50, 10), hundreds numeric(3, -2), updated_at text, deleted_at date,
      UNIQUE (code)
    )
    """,
    "ALTER TABLE types.domains ALTER code SET NOT NULL",
    'CREATE SCHEMA "Words"',
    """
    CREATE TABLE "Words"."Order" (
      "order" bigint, "group" int, "Select" text NOT NULL, "createdAt" timestamptz NOT NULL, "updatedAt" timestamptz,
      is_deleted boolean NOT NULL, "end" date NOT NULL,
      "null" text NOT NULL, "user" text NOT NULL, "values" text, name text NOT NULL, kind text,
      "default" text NOT NULL, "HTMLBody" text, "in" time, "out" time, "exclude" text, "glob" text NOT NULL,
      "notnull" int, "partitioned_by" text, "returning" text, "xor" text, "connect_by_root" text,
      PRIMARY KEY ("order", "group")
    )
    """,
    """
    INSERT INTO "Words"."Order" VALUES
      (1, 2, 'x', now(), now(), false, '2026-11-01', 'x', 'x', 'x', 'x', 'x', 'x', 'x', '9:00', '17:00', 'x', 'x')
    """,
    'CREATE TABLE "Words".select ("from" text, "where" text)',
    'CREATE TABLE "Words"."out" ("xor" int PRIMARY KEY)',
    'CREATE TABLE "Words"."userAccounts" ("userId" int PRIMARY KEY, email text, deleted_at timestamptz NOT NULL)',
    "CREATE SCHEMA faulty",
    "CREATE TABLE faulty.secret (id int PRIMARY KEY)",
    'CREATE TABLE faulty.cases (id int PRIMARY KEY, "Name" text, name text)',
    "CREATE TABLE faulty.loads (id int PRIMARY KEY, _loaded_at timestamptz)",
    'CREATE TABLE faulty.macros (id int PRIMARY KEY, "@EVAL(1)" text)',
    """CREATE TABLE faulty."it's" (id int PRIMARY KEY)""",
    "CREATE TABLE faulty._dlt_version (id int PRIMARY KEY)",
    "CREATE TABLE faulty.empty ()",
    'CREATE TABLE faulty."Twice" (id int PRIMARY KEY)',
    "CREATE TABLE faulty.twice (id int PRIMARY KEY)",
    "CREATE TABLE faulty.parent (id int PRIMARY KEY)",
    "CREATE TABLE faulty.child () INHERITS (faulty.parent)",
    'CREATE TABLE faulty."userName" (id int PRIMARY KEY)',
    "CREATE TABLE faulty.user_name (id int PRIMARY KEY)",
    "CREATE SCHEMA faulty_user",
    "CREATE TABLE faulty_user.name (id int PRIMARY KEY)",
    "CREATE SCHEMA retail",
    "CREATE TABLE retail.orders (id int PRIMARY KEY)",
    "CREATE SCHEMA shared",
    "CREATE TABLE shared.orders (id int PRIMARY KEY)",
    "CREATE SCHEMA x",
    "CREATE TABLE x.y__z (id int)",
    "CREATE SCHEMA x__y",
    "CREATE TABLE x__y.z (id int)",
    "CREATE SCHEMA ops",
    "CREATE TABLE ops.orders (id int PRIMARY KEY)",
    "CREATE TABLE ops.ref_reject_reason (id int PRIMARY KEY)",
    "CREATE TABLE ops.vats (id int PRIMARY KEY)",
    'CREATE SCHEMA "closed"',
    "CREATE TABLE closed.table1 (id int PRIMARY KEY)",
)
ROWS = ("deadbeef", "cafe", "867530", "271828", "secret", "203.0.113.77", "1987")
"""Parts of every value in types.every_type."""


@pytest.fixture(scope="module")
def foreign(postgres: Server) -> SourceDatabase:
    """A database with pgbench's tables and others, in which meshflow has installed nothing."""
    source = SourceDatabase(postgres, new_database(postgres, "source"))
    subprocess.run([BIN / "pgbench", "--initialize", "--quiet", source.url], check=True, capture_output=True)
    with closing(psycopg.connect(postgres.url("postgres", source.database), autocommit=True)) as connection:
        connection.execute("CREATE EXTENSION citext")
    for statement in STATEMENTS:
        source.execute(statement)
    for schema in ("public", "types", '"Words"', "faulty", "faulty_user", "retail", "shared", "x", "x__y", "ops"):
        source.execute(f"GRANT USAGE ON SCHEMA {schema} TO loader")
        source.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO loader")
    source.execute("REVOKE SELECT ON faulty.secret FROM loader")
    return source


def meshflow(workspace: Workspace, source: SourceDatabase, *arguments: str) -> Result:
    """Run the command `meshflow` in the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.path)
        return CliRunner(env=workspace.environment | source.environment).invoke(main, arguments)


def add(workspace: Workspace, source: SourceDatabase, *arguments: str) -> Result:
    return meshflow(workspace, source, "source", "add", *arguments)


def files(workspace: Workspace) -> dict[str, str]:
    return {
        str(path.relative_to(workspace.path)): path.read_text(encoding="utf-8")
        for path in workspace.path.rglob("*")
        if path.is_file()
        and path.suffix in {".sql", ".yaml", ".csv", ".md", ".unfinished"}
        and ".cache" not in path.parts
    }


def new_files(workspace: Workspace, built: Workspace) -> dict[str, str]:
    before = files(built)
    return {path: text for path, text in files(workspace).items() if before.get(path) != text}


@pytest.fixture(scope="module")
def added(built: Workspace, foreign: SourceDatabase, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project with the foreign tables, without databases. Shared: tests clone it before they change it."""
    workspace = built.clone(tmp_path_factory.mktemp("added"), data=False)
    result = add(workspace, foreign, *PGBENCH, "--all", "types", "--all", "Words")
    assert result.exit_code == 0, result.output
    assert "Next: `make lint`" in result.output
    return workspace


@pytest.fixture(scope="module")
def context(added: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project with the foreign tables, built on gateway `local`."""
    with closing(added.clone(tmp_path_factory.mktemp("context")).context()) as context:
        plan(context, "dev")
        yield context


def test_added_tables_pass_all_rules_and_their_unit_tests(context: Context, added: Workspace, built: Workspace) -> None:
    context.lint_models()
    tests = [str(context.path / path) for path in new_files(added, built) if path.startswith("tests")]
    assert len(tests) == 3 * len(ADDED) - 2 * 2, "two tables have no key"
    result = context.test(tests=tests)
    assert result.testsRun == len(tests)
    assert not [*result.errors, *result.failures]


def test_added_tables_are_formatted(context: Context) -> None:
    assert context.format(check=True)


def test_added_tables_are_built_without_rows(context: Context) -> None:
    counts = context.engine_adapter.fetchall("SELECT source_table, row_count FROM ANALYTICS.ops__dev.table_freshness")
    assert {table: count for table, count in counts if table in ADDED} == dict.fromkeys(ADDED, 0)
    built = {model.name for model in context.models.values()}
    for name in ("types__every_type", "words__order", "public__pgbench_accounts"):
        assert {f"staging.stg_{name}", f"intermediate.int_{name}_validated"} <= built


def test_a_run_reads_the_tables_from_the_state_and_not_from_files(context: Context) -> None:
    model = context.get_model("intermediate.int_sources__rows_loaded", raise_if_missing=True)
    stored = type(model).parse_raw(model.json())
    tables = {literal.name for literal in stored.render_query_or_raise().find_all(exp.Literal)}
    assert tables == {"edtech.students", "edtech.courses", "edtech.enrollments", "retail.sales", *ADDED}


def test_another_contract_is_another_version_of_the_models_that_read_all_tables(
    context: Context, warehouse: Context
) -> None:
    for name in ("rows_loaded", "rows_validated", "tables_counted"):
        one, other = (
            known.get_model(f"intermediate.int_sources__{name}", raise_if_missing=True)
            for known in (context, warehouse)
        )
        assert one.data_hash != other.data_hash


def test_no_value_of_a_row_is_in_a_file(added: Workspace, built: Workspace) -> None:
    text = "".join(new_files(added, built).values())
    assert [value for value in ROWS if value in text] == []
    for path, seed in new_files(added, built).items():
        if path.startswith("seeds/") and path != "seeds/ops/ref_reject_reason.csv":
            assert seed.count("\n") == 1, f"{path} should have only the header"


def test_comments_become_descriptions_without_what_sqlmesh_evaluates(context: Context) -> None:
    model = context.get_model("staging.stg_types__every_type", raise_if_missing=True)
    descriptions = {name.lower(): text for name, text in model.column_descriptions.items()}
    assert descriptions["a_text"] == "A text's % comment % / with macro"
    assert descriptions["a_date"] == "A date, as in the source"


def test_reserved_and_mixed_case_names_are_renamed_in_staging(context: Context) -> None:
    model = context.get_model("staging.stg_words__order", raise_if_missing=True)
    assert [name.lower() for name in model.columns_to_types_or_raise] == [
        "order_", "group_", "select_", "created_at", "is_deleted_", "end", "null_", "user",
        "values_", "name", "kind", "default", "html_body", "in_", "out_", "exclude_", "glob_", "notnull_",
        "partitioned_by_", "returning_", "xor_", "connect_by_root_", "updated_at", "deleted_at", "_loaded_at",
    ]  # fmt: skip


def test_a_deleted_at_that_is_not_null_marks_no_row_as_deleted(added: Workspace) -> None:
    model = (added.path / "models/staging/stg_words__useraccounts.sql").read_text(encoding="utf-8")
    assert "  deleted_at::TIMESTAMPNTZ AS deleted_at_, " in model
    assert "  _deleted_at::TIMESTAMPNTZ AS deleted_at, " in model


def test_a_table_without_a_key_has_no_grain_and_is_not_validated(added: Workspace) -> None:
    contract = (added.path / "external_models/public.yaml").read_text(encoding="utf-8")
    entries = {entry.split("\n")[0]: entry for entry in contract.split("\n- &")}
    assert "grain: aid" in entries["pgbench_accounts"]
    assert "grain" not in entries["pgbench_history"]
    assert not (added.path / "models/intermediate/int_public__pgbench_history_validated.sql").exists()


def test_a_row_of_a_source_without_updated_at_is_counted(added: Workspace, tmp_path: Path) -> None:
    workspace = added.clone(tmp_path)
    seed = workspace.path / "seeds/public/pgbench_accounts.csv"
    seed.write_text(f"{seed.read_text()}1,1,0,filler,,2026-10-25 02:00:00\n,1,0,filler,,2026-10-25 02:00:00\n")
    history = workspace.path / "seeds/public/pgbench_history.csv"
    history.write_text(f"{history.read_text()}1,1,1,0,,,,2026-10-25 02:00:00\n")
    with closing(workspace.context()) as context:
        plan(context, "dev")
        [accounts, unvalidated] = context.engine_adapter.fetchall(
            "SELECT updated_date, loaded_count, accepted_count, rejected_count, missing_count "
            "FROM ANALYTICS.ops__dev.row_reconciliation WHERE source_table LIKE 'public%' ORDER BY source_table"
        )
        assert accounts == (None, 2, 1, 1, 0)
        assert unvalidated == (None, 1, 0, 0, 0)
        [(reason,)] = context.engine_adapter.fetchall(
            "SELECT reject_reason FROM ANALYTICS.ops__dev.rejected_rows WHERE source_table = 'public.pgbench_accounts'"
        )
        assert reason == "missing_aid"


def remove_demo(workspace: Workspace, project: Path) -> None:
    """With the commands of the guide."""
    page = (project / "docs/guides/your-own-tables.md").read_text(encoding="utf-8")
    [commands] = re.findall(r"^```sh\n(rm -r .*?)^```", page, re.DOTALL | re.MULTILINE)
    (workspace.path / "dashboards").mkdir()
    for name in ("edtech.py", "retail.py", "app.py"):
        shutil.copy(project / "dashboards" / name, workspace.path / "dashboards")
    subprocess.run(["bash", "-euc", commands], cwd=workspace.path, check=True)  # noqa: S607


def test_the_demo_can_be_removed(project: Path, added: Workspace, tmp_path: Path) -> None:
    workspace = added.clone(tmp_path, data=False)
    remove_demo(workspace, project)
    for path, text in files(workspace).items():
        if path.startswith(("models/", "seeds/ops/", "seeds/intermediate/")) and not path.endswith(".md"):
            assert not re.search(r"\b(edtech|retail)\.", text), path
    with closing(workspace.context()) as context:
        context.lint_models()
        assert context.test().wasSuccessful()
        plan(context, "dev")
        tables = context.engine_adapter.fetchall("SELECT source_table FROM ANALYTICS.ops__dev.table_freshness")
        assert {table for (table,) in tables} == set(ADDED)


def test_own_tables_may_have_the_schemas_of_the_demo(
    built: Workspace, project: Path, foreign: SourceDatabase, tmp_path: Path
) -> None:
    page = (project / "docs/guides/your-own-tables.md").read_text(encoding="utf-8")
    assert page.index("rm -r models/") < page.index("meshflow source add"), "the commands would delete their files"
    workspace = built.clone(tmp_path, data=False)
    remove_demo(workspace, project)
    result = add(workspace, foreign, "retail.orders", "shared.orders")
    assert result.exit_code == 0, result.output
    with closing(workspace.context()) as context:
        context.lint_models()
        assert context.test().wasSuccessful()


def test_the_dashboards_have_the_other_pages_without_the_demo(project: Path, added: Workspace, tmp_path: Path) -> None:
    workspace = added.clone(tmp_path, data=False)
    remove_demo(workspace, project)
    app = workspace.path / "dashboards/app.py"
    command = [Path(sys.executable).with_name("ruff"), "check", "--isolated", "--select", "F", app]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"a name is undefined or unused: {found.stdout}{found.stderr}"
    [pages] = re.findall(r"^PAGES = \{\n(.*?)^\}", app.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert re.findall('"(.+)":', pages) == ["Data quality", "Runs", "Queries"]
    assert 'default=title == "Data quality"' in app.read_text(encoding="utf-8")


def test_a_project_without_the_demo_does_everything_with_own_tables(
    built: Workspace, project: Path, postgres: Server, foreign: SourceDatabase, tmp_path: Path
) -> None:
    workspace = built.clone(tmp_path, new_state(postgres), data=False)
    remove_demo(workspace, project)
    assert add(workspace, foreign, *PGBENCH, "types.every_type", "Words.Order").exit_code == 0
    for command in (["source", "check"], ["load"], ["reconcile"]):
        result = meshflow(workspace, foreign, *command)
        assert result.exit_code == 0, result.output
    result = meshflow(workspace, foreign, "source", "status")
    assert re.search(r"public\.pgbench_accounts +100,000", result.output), result.output
    with closing(workspace.context("live")) as context:
        context.lint_models()
        assert context.test().wasSuccessful()
        plan(context, "prod", at=datetime.now(UTC) + timedelta(minutes=10))
        assert tables(context) == {
            "public.pgbench_accounts": (100_000, 100_000), "public.pgbench_branches": (1, 1),
            "public.pgbench_history": (0, 0), "public.pgbench_tellers": (10, 10),
            "types.every_type": (1, 1), "Words.Order": (1, 1),
        }  # fmt: skip
        [row] = context.engine_adapter.fetchall(
            "SELECT id, a_numeric, a_mood FROM ANALYTICS.intermediate.int_types__every_type_validated"
        )
        assert row == ("deadbeef-0000-4000-8000-00000000cafe", Decimal("271828.1828"), "secret_sad")

    foreign.execute("UPDATE pgbench_accounts SET abalance = 100 WHERE aid = 7")
    foreign.execute("DELETE FROM pgbench_accounts WHERE aid = 8")
    foreign.execute("INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, 7, 100, now())")
    foreign.execute("INSERT INTO types.every_type (id, an_integer, a_double) VALUES (gen_random_uuid(), 1, 'NaN')")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.path)
        for minutes in (15, 25):  # the second load completes the interval of the first
            LoadPipeline(foreign, workspace.root).load(at=datetime.now(UTC) + timedelta(minutes=minutes))
    with closing(workspace.context("live")) as context:
        run(context, at=datetime.now(UTC) + timedelta(days=1))
        found = tables(context)
        assert found["public.pgbench_accounts"] == (100_000, 99_999)
        assert found["public.pgbench_history"] == (1, 1)
        assert found["types.every_type"] == (1, 1), "the other row doesn't fit"
        balances = "SELECT SUM(abalance) FROM ANALYTICS.intermediate.int_public__pgbench_accounts_validated"
        assert context.engine_adapter.fetchall(balances) == [(100,)]
        rejected = "SELECT source_table, reject_reason, rejected_count FROM ANALYTICS.ops.rejected_rows"
        assert context.engine_adapter.fetchall(rejected) == [("types.every_type", "unloadable_a_double", 1)]
    for command in (["reconcile"], ["catalog", "build", "--output", str(tmp_path / "catalog")]):
        result = meshflow(workspace, foreign, *command)
        assert result.exit_code == 0, result.output


def tables(context: Context) -> dict[str, tuple[int, int]]:
    """Rows and active rows in prod, by source table."""
    rows = context.engine_adapter.fetchall(
        "SELECT source_table, row_count, active_row_count FROM ANALYTICS.ops.table_freshness"
    )
    return {table: tuple(counts) for table, *counts in rows}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["public.pgbench_accounts"], "public.pgbench_accounts is in the contract already"),
        (["PUBLIC.pgbench_ACCOUNTS"], "The source has no table PUBLIC.pgbench_ACCOUNTS"),
        (["--all", "types"], "No table of types is left that can be added"),
        (["public.nothing"], "The source has no table public.nothing"),
        (["nothing"], "nothing has no schema: write it as public.nothing"),
        (["--all", "nothing"], "The source has no schema nothing with tables"),
        (["faulty.secret"], "permission denied for table; `GRANT SELECT ON faulty.secret TO loader`"),
        (["closed.table1"], "permission denied for schema closed; `GRANT USAGE ON SCHEMA closed TO loader`"),
        (["faulty.cases"], "faulty.cases: RAW, which has no case, would have name twice"),
        (["faulty.loads"], "faulty.loads: RAW, which has no case, would have _loaded_at twice"),
        (["faulty.macros"], "the name '@EVAL(1)' has other characters than ASCII letters, digits and _"),
        (["faulty.it's"], "has other characters than ASCII letters"),
        (["faulty.empty"], "faulty.empty: it has no columns"),
        (["faulty.Twice", "faulty.twice"], "faulty.twice: RAW, which has no case, has faulty.Twice"),
        (["x.y__z", "x__y.z"], "x__y.z: its staging model would be that of x.y__z; add a view"),
        (["ops.ref_reject_reason"], "seeds/ops/ref_reject_reason.csv exists with another content; remove it if it is"),
        (["faulty.user_name", "faulty_user.name"], "rejected rows would be that of faulty.user_name"),
    ],
)
def test_what_cannot_be_added_gives_one_line_and_writes_nothing(
    added: Workspace, foreign: SourceDatabase, arguments: list[str], message: str
) -> None:
    before = files(added)
    result = add(added, foreign, *arguments)
    assert result.exit_code == 1
    [line] = result.output.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert files(added) == before


def test_all_of_a_schema_leaves_out_what_cannot_be_added(
    built: Workspace, foreign: SourceDatabase, tmp_path: Path
) -> None:
    workspace = built.clone(tmp_path, data=False)
    foreign.execute("CREATE TABLE IF NOT EXISTS faulty.good (id int PRIMARY KEY)")
    foreign.execute("GRANT SELECT ON faulty.good TO loader")
    result = add(workspace, foreign, "--all", "faulty")
    assert result.exit_code == 0, result.output
    assert result.output.count("Left out: ") == 8
    assert "Left out: faulty.twice: RAW, which has no case, has faulty.Twice" in result.output
    assert "Left out: faulty._dlt_version: each schema of RAW has" in result.output
    added = {name: table.key for name, table in contract(workspace.path).items() if table.schema == "faulty"}
    assert added == {
        "faulty.Twice": ("id",),
        "faulty.child": (),
        "faulty.good": ("id",),
        "faulty.parent": (),
        "faulty.userName": ("id",),
        "faulty.user_name": ("id",),
    }


def test_a_table_that_cannot_be_written_does_not_keep_the_others_out(
    built: Workspace, foreign: SourceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = built.clone(tmp_path, data=False)
    monkeypatch.setattr("meshflow.source.files.RESERVED", RESERVED - {"xor"})  # a word that is missing in the list
    result = add(workspace, foreign, "--all", "ops", "--all", "x", "--all", "x__y", "--all", "Words")
    assert result.exit_code == 0, result.output
    left_out = [line.removeprefix("Left out: ") for line in result.output.splitlines() if line.startswith("Left out")]
    assert [line.split(":")[0] for line in left_out] == ["ops.ref_reject_reason", "x__y.z", "Words.Order", "Words.out"]
    assert "one of its names is a word of SQL that SQLMesh can't read; add a view" in left_out[-1]
    written = {name for name in contract(workspace.path) if name.startswith(("ops", "x", "Words"))}
    assert written == {"ops.orders", "ops.vats", "x.y__z", "Words.select", "Words.userAccounts"}


@pytest.mark.parametrize("partition", ["", "PARTITION BY RANGE (id)"])
def test_a_table_without_a_key_that_loads_would_reject_is_named(
    built: Workspace, foreign: SourceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partition: str
) -> None:
    monkeypatch.setattr("meshflow.source.add.MAX_ROWS", 9)
    foreign.execute("DROP SCHEMA IF EXISTS large CASCADE")
    foreign.execute("CREATE SCHEMA large")
    foreign.execute("GRANT USAGE ON SCHEMA large TO loader")
    for name, rows in (("allowed", 9), ("visits", 10)):
        foreign.execute(f"CREATE TABLE large.{name} (id int) {partition}")
        if partition:
            foreign.execute(f"CREATE TABLE large.{name}_1 PARTITION OF large.{name} DEFAULT")
        foreign.execute(f"INSERT INTO large.{name} SELECT generate_series(1, {rows})")
        foreign.execute(f"ANALYZE large.{name}")
    foreign.execute("GRANT SELECT ON ALL TABLES IN SCHEMA large TO loader")
    for number, arguments in enumerate((["--all", "large"], ["large.allowed", "large.visits"])):
        result = add(built.clone(tmp_path / str(number), data=False), foreign, *arguments)
        assert result.exit_code == 0, result.output
        [line] = [line for line in result.output.splitlines() if "has no key and" in line]
        assert line.startswith(
            "large.visits has no key and about 10 rows. Loads reject it above 9, and no model of large "
        )


def test_an_existing_file_is_not_overwritten(built: Workspace, foreign: SourceDatabase, tmp_path: Path) -> None:
    workspace = built.clone(tmp_path, data=False)
    (workspace.path / "models/staging/stg_public__pgbench_accounts.sql").write_text("mine")
    result = add(workspace, foreign, "public.pgbench_accounts")
    assert result.exit_code == 1
    assert "models/staging/stg_public__pgbench_accounts.sql exists with another content" in result.output
    assert not (workspace.path / "external_models/public.yaml").exists()


def test_an_interrupted_command_leaves_nothing(
    built: Workspace, foreign: SourceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = built.clone(tmp_path, data=False)
    before = files(workspace)
    replace, calls = Path.replace, iter(range(7))

    def interrupt(self: Path, target: Path) -> Path:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupt)
    assert add(workspace, foreign, "public.pgbench_accounts").exit_code == 1
    assert files(workspace) == before


def test_a_killed_command_is_completed_by_the_next(
    built: Workspace, foreign: SourceDatabase, added: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = built.clone(tmp_path, data=False)
    write = add_module._write  # noqa: SLF001
    with monkeypatch.context() as patch:
        patch.setattr(add_module, "_write", lambda files: write(dict(list(files.items())[:7])))
        add(workspace, foreign, *PGBENCH)
    assert add(workspace, foreign, *PGBENCH).exit_code == 0
    contract = "external_models/public.yaml"
    assert files(workspace)[contract] == files(added)[contract]
    reasons = files(workspace)["seeds/ops/ref_reject_reason.csv"].splitlines()
    assert len(reasons) == len(set(reasons))


@pytest.mark.parametrize(
    ("postgres_type", "contract_type"),
    [
        ("bigint", "BIGINT"),
        ("smallint", "INT"),
        ("boolean", "BOOLEAN"),
        ("time(3) without time zone", "TIME"),
        ("time with time zone", "VARCHAR"),
        ("timestamp(3) with time zone", "TIMESTAMPNTZ"),
        ("timestamp without time zone", "TIMESTAMPNTZ"),
        ("numeric(18,2)", "DECIMAL(18, 2)"),
        ("numeric(38,0)", "DECIMAL(38, 0)"),
        ("numeric(39,0)", "DECIMAL(38, 9)"),
        ("numeric", "DECIMAL(38, 9)"),
        ("numeric(3,-2)", "DECIMAL(5, 0)"),
        ("numeric(2,4)", "DECIMAL(4, 4)"),
        ("numeric(18,2)[]", "VARCHAR"),
        ("real", "DOUBLE"),
        ("bytea", "BINARY"),
        ("character(3)", "VARCHAR"),
        ("date[]", "VARCHAR"),
        ("interval", "VARCHAR"),
        ("public.date", "VARCHAR"),
    ],
)
def test_every_postgres_type_has_a_type_of_the_contract(postgres_type: str, contract_type: str) -> None:
    assert SourceColumn("it", postgres_type, is_required=False).type == contract_type


def test_domains_have_the_types_and_constraints_of_their_bases(added: Workspace) -> None:
    contract = (added.path / "external_models/types.yaml").read_text(encoding="utf-8")
    assert "    price: DECIMAL(12, 2)\n" in contract
    assert "    large: DECIMAL(38, 9)  # numeric(50,10) in the source\n" in contract
    model = (added.path / "models/intermediate/int_types__domains_validated.sql").read_text(encoding="utf-8")
    assert "missing_price := price IS NULL" in model
