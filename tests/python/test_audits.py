"""Every audit in audits/ on DuckDB: tables it lets pass, and one planted fault of each kind it promises to find."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import pytest
from click.testing import CliRunner, Result
from sqlglot import exp
from sqlmesh.cli.main import cli
from sqlmesh.core.audit import Audit, ModelAudit, load_multiple_audits
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import parse
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.model import AuditResult, load_sql_based_model
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot, SnapshotChangeCategory, SnapshotEvaluator

AUDITS = Path(__file__).parents[2] / "audits"
FILES = sorted(AUDITS.glob("*.sql"))
NON_BLOCKING = {"odd_rows"}


@dataclass(frozen=True)
class Call:
    """An audit as it is called in a MODEL header, and the tables it then looks at."""

    sql: str
    columns: str
    other_columns: str = "id INT"
    """Of audited.other, where the audit compares with another table."""

    @property
    def audit(self) -> str:
        return self.sql.partition("(")[0]


@dataclass(frozen=True)
class Case:
    call: Call
    shows: str
    rows: str = ""
    other: str = ""
    finds: tuple[object, ...] = ()
    """The first column of each row found; nothing for a table that passes."""

    def __str__(self) -> str:
        return f"{self.call.audit}-{self.shows}".replace(" ", "_")


KEY = Call("unique_combination_of_columns(columns := id)", "id INT")
TWO_KEYS = Call("unique_combination_of_columns(columns := (id, day))", "id INT, day DATE")
DROP = Call("max_deletion_rate(max_rate := 0.2, min_rows := 1)", "is_deleted BOOLEAN, updated_at TIMESTAMP")
DROP_OF_100 = Call("max_deletion_rate(max_rate := 0.2)", "is_deleted BOOLEAN, updated_at TIMESTAMP")
NET = Call(
    "money_is_net(gross := gross, discount := discount, net := net)",
    "id INT, gross DECIMAL(18, 2), discount DECIMAL(18, 2), net DECIMAL(18, 2)",
)
FIRST = Call("never_changes(column := day, first_value := first_day)", "id INT, day DATE, first_day DATE")
FIRST_OF_COPY_1 = Call(
    "never_changes(column := day, first_value := first_day, condition := copy = 1)",
    "id INT, day DATE, first_day DATE, copy INT",
)
FILLED = Call("not_null(columns := id)", "id INT")
BOTH_FILLED = Call("not_null(columns := (id, name))", "id INT, name VARCHAR")
FILLED_IF_VALID = Call(
    "not_null(columns := (id, name), condition := is_valid)", "id INT, name VARCHAR, is_valid BOOLEAN"
)
ODD = Call("odd_rows(flag := is_odd)", "id INT, is_odd BOOLEAN")
PARENT = Call(
    "relationships(column := parent_id, parent := audited.other, parent_column := id)", "parent_id INT", "id INT"
)
PARENT_IF_VALID = Call(
    "relationships(column := parent_id, parent := audited.other, parent_column := id, condition := is_valid)",
    "parent_id INT, is_valid BOOLEAN",
)
VALIDATION = Call(
    "row_counts_reconcile(loaded := audited.other, key := id)",
    "id INT, reject_reasons VARCHAR, _loaded_at TIMESTAMP",
    "id INT, _loaded_at TIMESTAMP",
)
VALIDATION_TWO_KEYS = Call(
    "row_counts_reconcile(loaded := audited.other, key := (id, line))",
    "id INT, line INT, reject_reasons VARCHAR, _loaded_at TIMESTAMP",
    "id INT, line INT, _loaded_at TIMESTAMP",
)
VALIDATION_SINCE = Call(
    "row_counts_reconcile(loaded := audited.other, key := id, since := '2026-01-06'::TIMESTAMP)",
    "id INT, reject_reasons VARCHAR, _loaded_at TIMESTAMP",
    "id INT, _loaded_at TIMESTAMP",
)
VERSIONS = Call("scd2_no_overlaps(key := id)", "id INT, valid_from TIMESTAMP, valid_to TIMESTAMP")
TOTAL = Call(
    "totals_reconcile(measures := amount, against := audited.other, by := day)",
    "day INT, amount DECIMAL(18, 2)",
    "day INT, amount DECIMAL(18, 2)",
)
TOTALS = Call(
    "totals_reconcile(measures := (amount, 1), against := audited.other, against_measures := (paid, n), by := (day, city))",
    "day INT, city VARCHAR, amount DECIMAL(18, 2)",
    "day INT, city VARCHAR, paid DECIMAL(18, 2), n INT",
)
LEVEL = Call("accepted_values(column := level, accepted := ('Low', 'High'))", "level VARCHAR")
EQUAL = Call("accepted_values(column := is_equal, accepted := TRUE)", "is_equal BOOLEAN")
ZERO = Call("accepted_values(column := missing, accepted := 0)", "missing INT")

MON, TUE, WED, THU = (f"'2026-01-0{day}'" for day in (5, 6, 7, 8))
DELETED, ALIVE = f"(TRUE, {TUE})", f"(FALSE, {MON})"


def loaded(rows: str, day: str = MON) -> str:
    """`rows` with the day they loaded as their last column."""
    return rows.replace(")", f", {day})")


CASES = (
    Case(KEY, "a row per key", "(1), (2)"),
    Case(KEY, "a key twice", "(1), (2), (2)", finds=(2,)),
    Case(KEY, "no key twice", "(1), (NULL), (NULL)", finds=(None,)),
    Case(TWO_KEYS, "half the key repeated", f"(1, {MON}), (1, {TUE}), (2, {MON})"),
    Case(TWO_KEYS, "the whole key repeated", f"(1, {MON}), (1, {MON}), (2, {MON})", finds=(1,)),
    Case(DROP, "nothing deleted", f"{ALIVE}, {ALIVE}"),
    Case(DROP, "as many deleted as allowed", f"{DELETED}, {ALIVE}, {ALIVE}, {ALIVE}, {ALIVE}"),
    Case(DROP, "more deleted than allowed", f"{DELETED}, {ALIVE}, {ALIVE}, {ALIVE}", finds=(3,)),
    Case(DROP, "everything deleted", f"{DELETED}, {DELETED}", finds=(0,)),
    Case(DROP, "deleted long before the newest write", f"(TRUE, {MON}), (TRUE, {MON}), (FALSE, {THU})"),
    Case(DROP, "deleted a day before the newest write", f"(TRUE, {WED}), (FALSE, {THU})", finds=(1,)),
    Case(DROP_OF_100, "a table too small to validate", ", ".join([DELETED] * 99)),
    Case(DROP_OF_100, "a table just large enough to validate", ", ".join([DELETED] * 21 + [ALIVE] * 79), finds=(79,)),
    Case(NET, "gross less discount", "(1, 10.00, 2.50, 7.50), (2, 10.00, 10.00, 0.00)"),
    Case(NET, "net off by a cent", "(1, 10.00, 2.50, 7.50), (2, 10.00, 2.50, 7.51)", finds=(2,)),
    Case(NET, "discount above gross", "(1, 10.00, 2.50, 7.50), (2, 10.00, 10.01, -0.01)", finds=(2,)),
    Case(FIRST, "the first value", f"(1, {MON}, {MON})"),
    Case(FIRST, "no first value yet", f"(1, {MON}, NULL)"),
    Case(FIRST, "another value", f"(1, {MON}, {MON}), (2, {TUE}, {MON})", finds=(2,)),
    Case(FIRST, "a value that vanished", f"(1, {MON}, {MON}), (2, NULL, {MON})", finds=(2,)),
    Case(FIRST_OF_COPY_1, "another value where it does not matter", f"(1, {TUE}, {MON}, 2)"),
    Case(FIRST_OF_COPY_1, "another value where it matters", f"(1, {TUE}, {MON}, 1)", finds=(1,)),
    Case(FILLED, "no hole", "(1), (0)"),
    Case(FILLED, "a hole in the only column", "(1), (NULL)", finds=(None,)),
    Case(BOTH_FILLED, "an empty string", "(1, '')"),
    Case(BOTH_FILLED, "a hole in the first column", "(1, 'a'), (NULL, 'b')", finds=(None,)),
    Case(BOTH_FILLED, "a hole in the last column", "(1, 'a'), (2, NULL)", finds=(2,)),
    Case(FILLED_IF_VALID, "a hole where it does not matter", "(1, NULL, FALSE), (NULL, 'b', FALSE)"),
    Case(FILLED_IF_VALID, "a hole where it matters", "(1, NULL, TRUE), (2, NULL, FALSE)", finds=(1,)),
    Case(ODD, "no flag", "(1, FALSE), (2, NULL)"),
    Case(ODD, "a flag", "(1, FALSE), (2, TRUE)", finds=(2,)),
    Case(PARENT, "a parent each", "(1), (1), (2)", "(1), (2), (3)"),
    Case(PARENT, "no key at all", "(NULL)", "(1)"),
    Case(PARENT, "two children of nobody", "(1), (9), (9)", "(1)", finds=(9,)),
    Case(PARENT, "a parent without a key", "(1), (9)", "(1), (NULL)", finds=(9,)),
    Case(PARENT_IF_VALID, "a child of nobody that does not matter", "(9, FALSE)", "(1)"),
    Case(PARENT_IF_VALID, "a child of nobody that matters", "(8, TRUE), (9, FALSE)", "(1)", finds=(8,)),
    Case(
        VALIDATION,
        "accepted and rejected",
        loaded("(1, NULL), (1, 'duplicate'), (NULL, 'missing')"),
        loaded("(1), (1), (NULL)"),
    ),
    Case(
        VALIDATION,
        "loaded after the model was written",
        loaded("(1, NULL)"),
        loaded("(1)") + ", " + loaded("(1), (2)", TUE),
    ),
    Case(VALIDATION, "a row lost", loaded("(1, NULL)"), loaded("(1), (2)"), finds=(2,)),
    Case(VALIDATION, "a row without a key lost", loaded("(1, NULL)"), loaded("(1), (NULL)"), finds=(None,)),
    Case(VALIDATION, "a copy lost", loaded("(1, NULL)"), loaded("(1), (1)"), finds=(1,)),
    Case(VALIDATION, "a row accepted twice", loaded("(1, NULL), (2, NULL), (2, NULL)"), loaded("(1), (2)"), finds=(2,)),
    Case(VALIDATION, "a row both accepted and rejected", loaded("(1, NULL), (1, 'bad')"), loaded("(1)"), finds=(1,)),
    Case(VALIDATION, "a row that never loaded", loaded("(1, NULL), (9, 'bad')"), loaded("(1)"), finds=(9,)),
    Case(VALIDATION, "one lost and another doubled", loaded("(1, NULL), (1, NULL)"), loaded("(1), (2)"), finds=(1, 2)),
    Case(
        VALIDATION_SINCE,
        "a copy that loaded before",
        loaded("(1, NULL), (1, 'copy')", TUE),
        f"{loaded('(1)')}, {loaded('(1)', TUE)}",
    ),
    Case(
        VALIDATION_SINCE,
        "a row lost since",
        f"{loaded('(1, NULL)')}, {loaded('(3, NULL)', TUE)}",
        f"{loaded('(1)')}, {loaded('(2), (3)', TUE)}",
        finds=(2,),
    ),
    Case(
        VALIDATION_SINCE,
        "a key that loaded after the model was written",
        loaded("(1, NULL)", TUE),
        loaded("(1), (2)", WED),
    ),
    Case(
        VALIDATION_SINCE,
        "a row doubled since",
        f"{loaded('(1, NULL)')}, {loaded('(2, NULL), (2, NULL)', TUE)}",
        f"{loaded('(1)')}, {loaded('(2)', TUE)}",
        finds=(2,),
    ),
    Case(VALIDATION_SINCE, "an older row that vanished", loaded("(1, NULL), (2, NULL)"), loaded("(1)"), finds=(None,)),
    Case(
        VALIDATION_SINCE,
        "an older row that vanished while another is lost",
        f"{loaded('(1, NULL), (2, NULL)')}, {loaded('(3, NULL)', WED)}",
        f"{loaded('(1)')}, {loaded('(3), (4)', WED)}",
        finds=(4, None),
    ),
    Case(
        VALIDATION_TWO_KEYS, "two lines of one order", loaded("(1, 1, NULL), (1, 2, 'bad')"), loaded("(1, 1), (1, 2)")
    ),
    Case(
        VALIDATION_TWO_KEYS,
        "a line that became another",
        loaded("(1, 1, NULL), (1, 1, NULL)"),
        loaded("(1, 1), (1, 2)"),
        finds=(1, 1),
    ),
    Case(VERSIONS, "versions in a row, the last open", f"(1, {MON}, {TUE}), (1, {TUE}, NULL)"),
    Case(VERSIONS, "deleted, and back after a while", f"(1, {MON}, {TUE}), (1, {WED}, {THU})"),
    Case(VERSIONS, "two keys open", f"(1, {MON}, NULL), (2, {MON}, NULL)"),
    Case(VERSIONS, "an overlap", f"(1, {MON}, {WED}), (1, {TUE}, {THU}), (2, {MON}, NULL)", finds=(1,)),
    Case(VERSIONS, "one inside another", f"(1, {MON}, {THU}), (1, {TUE}, {WED})", finds=(1,)),
    Case(VERSIONS, "an end before the beginning", f"(1, {TUE}, {MON})", finds=(1,)),
    Case(VERSIONS, "open twice", f"(1, {MON}, NULL), (1, {MON}, NULL)", finds=(1, 1)),
    Case(VERSIONS, "open, and followed by another", f"(1, {MON}, NULL), (1, {TUE}, {WED})", finds=(1,)),
    Case(TOTAL, "equal sums of other rows", "(1, 2.50), (1, 2.50), (2, 1)", "(1, 5), (2, 1)"),
    Case(TOTAL, "a group of zeros on either side", "(1, 1), (2, 0)", "(1, 1), (3, 0)"),
    Case(TOTAL, "equal sums without a group", "(NULL, 1)", "(NULL, 1)"),
    Case(TOTAL, "a cent too much", "(1, 5.01), (2, 1)", "(1, 5), (2, 1)", finds=(1, 1)),
    Case(TOTAL, "a group missing here", "(1, 5)", "(1, 5), (2, 1)", finds=(2,)),
    Case(TOTAL, "a group missing there", "(1, 5), (2, 1)", "(1, 5)", finds=(2,)),
    Case(TOTAL, "an amount in another group", "(1, 3), (2, 3)", "(1, 2), (2, 4)", finds=(1, 1, 2, 2)),
    Case(TOTALS, "both measures equal", "(1, 'A', 2), (1, 'A', 3), (1, 'B', 0)", "(1, 'A', 5, 2), (1, 'B', 0, 1)"),
    Case(TOTALS, "only the last measure differs", "(1, 'A', 5)", "(1, 'A', 5, 2)", finds=(1, 1)),
    Case(TOTALS, "a group that only the last measure shows", "(1, 'A', 5), (2, 'A', 0)", "(1, 'A', 5, 1)", finds=(2,)),
    Case(TOTALS, "only half of the group agrees", "(1, 'A', 5)", "(1, 'B', 5, 1)", finds=(1, 1)),
    Case(LEVEL, "accepted values and none", "('Low'), ('High'), (NULL)"),
    Case(LEVEL, "an unknown value twice", "('Low'), ('high'), ('high')", finds=("high",)),
    Case(EQUAL, "the one accepted truth", "(TRUE)"),
    Case(EQUAL, "its opposite", "(TRUE), (FALSE)", finds=(False,)),
    Case(ZERO, "the one accepted number", "(0)"),
    Case(ZERO, "another number", "(0), (-1)", finds=(-1,)),
)
CALLS = tuple(dict.fromkeys(case.call for case in CASES))
GOOD = [case for case in CASES if not case.finds]
BAD = [case for case in CASES if case.finds]
ONE_BAD_OF_EACH = {case.call.audit: case for case in BAD}


@pytest.fixture(scope="module")
def audits() -> dict[str, Audit]:
    """The audits of the project, by name."""
    return {
        audit.name: audit
        for file in FILES
        for audit in load_multiple_audits(
            parse(file.read_text(encoding="utf-8"), default_dialect="snowflake"), path=file, dialect="snowflake"
        )
    }


@pytest.fixture
def adapter() -> Iterator[EngineAdapter]:
    adapter = DuckDBConnectionConfig(catalogs={"ANALYTICS": ":memory:"}).create_engine_adapter()
    yield adapter
    adapter.close()


def audited(case: Case, audits: dict[str, ModelAudit], adapter: EngineAdapter) -> AuditResult:
    """Let SQLMesh run the audit of the case, as it does after it has written a model."""
    adapter.execute("CREATE SCHEMA audited")
    for table, columns, rows in (
        ("audited.planted", case.call.columns, case.rows),
        ("audited.other", case.call.other_columns, case.other),
    ):
        adapter.execute(f"CREATE TABLE {table} ({columns})")
        if rows:
            adapter.execute(f"INSERT INTO {table} VALUES {rows}")
    model = load_sql_based_model(
        parse(
            f"MODEL (name audited.subject, kind VIEW, audits ({case.call.sql})); SELECT * FROM audited.planted",
            default_dialect="snowflake",
        ),
        audit_definitions=audits,
        dialect="snowflake",
        default_catalog="ANALYTICS",
    )
    snapshot = Snapshot.from_node(model, nodes={})
    snapshot.categorize_as(SnapshotChangeCategory.BREAKING)
    evaluator = SnapshotEvaluator(adapter)
    evaluator.create_physical_schemas([snapshot], DeployabilityIndex.all_deployable())
    evaluator.create([snapshot], {})
    (result,) = evaluator.audit(snapshot, snapshots={snapshot.name: snapshot})
    return result


def rows_found(result: AuditResult, adapter: EngineAdapter) -> list[dict[str, object]]:
    assert isinstance(result.query, exp.Query)
    found = adapter.cursor.execute(result.query.sql(dialect="duckdb"))
    names = [column[0].lower() for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_a_good_table_passes(case: Case, audits: dict[str, ModelAudit], adapter: EngineAdapter) -> None:
    assert audited(case, audits, adapter).count == 0


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.sql.replace(" ", ""))
def test_an_empty_table_passes(call: Call, audits: dict[str, ModelAudit], adapter: EngineAdapter) -> None:
    assert audited(Case(call, "nothing"), audits, adapter).count == 0


@pytest.mark.parametrize("case", BAD, ids=str)
def test_a_planted_fault_is_found_and_nothing_else(
    case: Case, audits: dict[str, ModelAudit], adapter: EngineAdapter
) -> None:
    result = audited(case, audits, adapter)
    found = rows_found(result, adapter)
    assert result.count == len(found)
    assert sorted((next(iter(row.values())) for row in found), key=str) == sorted(case.finds, key=str)


@pytest.mark.parametrize("case", ONE_BAD_OF_EACH.values(), ids=ONE_BAD_OF_EACH)
def test_what_is_found_says_what_is_wrong_and_what_to_do(
    case: Case, audits: dict[str, ModelAudit], adapter: EngineAdapter
) -> None:
    (problem,) = {row["problem"] for row in rows_found(audited(case, audits, adapter), adapter)}
    wrong, _, remedy = str(problem).partition(": ")
    assert min(len(wrong.split()), len(remedy.split())) >= 3, f"expected 'what is wrong: what to do', got {problem!r}"
    assert case.call.audit not in str(problem)


@pytest.mark.parametrize("case", ONE_BAD_OF_EACH.values(), ids=ONE_BAD_OF_EACH)
def test_only_oddities_do_not_block(case: Case, audits: dict[str, ModelAudit], adapter: EngineAdapter) -> None:
    assert audited(case, audits, adapter).blocking is (case.call.audit not in NON_BLOCKING)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_audit_has_a_good_table_and_a_planted_fault(file: Path, audits: dict[str, Audit]) -> None:
    assert file.stem in audits, "an audit has the name of its file"
    assert file.stem in {case.call.audit for case in GOOD}, "add a table that passes to CASES"
    assert file.stem in {case.call.audit for case in BAD}, "add a planted fault to CASES"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project of one model over one seed, with the audits of this one."""
    copytree(AUDITS, tmp_path / "audits")
    (tmp_path / "models").mkdir()
    (tmp_path / "config.yaml").write_text(
        f"""
        gateways:
          local:
            connection:
              type: duckdb
              catalogs: {{ANALYTICS: '{tmp_path}/analytics.duckdb'}}
        model_defaults: {{dialect: snowflake, start: 2026-01-01}}
        """
    )
    (tmp_path / "models" / "product.sql").write_text(
        """
        MODEL (name shop.product, kind SEED (path '../product.csv'), columns (product_id INT, name VARCHAR),
          audits (unique_combination_of_columns(columns := product_id), odd_rows(flag := name IS NULL)));
        """
    )
    (tmp_path / "product.csv").write_text("product_id,name\n1,Kettle\n")
    return tmp_path


def plan_prod(project: Path) -> Result:
    return CliRunner().invoke(cli, ["--paths", str(project), "plan", "prod", "--auto-apply", "--no-prompts"])


def products(project: Path) -> list[tuple[object, ...]]:
    context = Context(paths=str(project))
    rows = context.engine_adapter.fetchall("SELECT * FROM shop.product ORDER BY ALL")
    context.close()
    return list(rows)


def test_a_blocking_audit_stops_the_plan_says_why_and_leaves_prod_alone(shop: Path) -> None:
    assert plan_prod(shop).exit_code == 0
    (shop / "product.csv").write_text("product_id,name\n1,Kettle\n1,Teapot\n")

    result = plan_prod(shop)

    output = "".join(result.output.split())  # the console breaks lines anywhere
    assert result.exit_code == 1
    assert "'unique_combination_of_columns'auditerror:1rowfailed" in output
    assert "Severalrowsshareonekey:findthejointhatrepeatsrows" in output
    assert products(shop) == [(1, "Kettle")]


def test_a_blocking_audit_stops_the_first_plan_before_prod_has_the_view(shop: Path) -> None:
    (shop / "product.csv").write_text("product_id,name\n1,Kettle\n1,Teapot\n")
    assert plan_prod(shop).exit_code == 1
    context = Context(paths=str(shop))
    assert not context.engine_adapter.table_exists("shop.product")
    context.close()


def test_an_odd_row_is_warned_of_and_promoted(shop: Path) -> None:
    (shop / "product.csv").write_text("product_id,name\n1,Kettle\n2,\n")
    result = plan_prod(shop)
    assert result.exit_code == 0
    assert "'odd_rows'auditerror:1rowfailed" in "".join(result.output.split())
    assert products(shop) == [(1, "Kettle"), (2, None)]
