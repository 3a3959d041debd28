"""Every audit of the models on DuckDB: tables that pass, and one planted fault of each kind that it has to find."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import pytest
from click.testing import CliRunner, Result
from sqlglot import exp
from sqlmesh.cli.main import cli
from sqlmesh.core.audit import Audit, ModelAudit, load_multiple_audits
from sqlmesh.core.audit.builtin import BUILT_IN_AUDITS
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import parse
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.model import AuditResult, load_sql_based_model
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot, SnapshotChangeCategory, SnapshotEvaluator

from meshflow.remedies import REMEDIES, RUNBOOK

AUDITS = Path(__file__).parents[2] / "audits"
FILES = sorted(AUDITS.glob("*.sql"))


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
SOFT_DELETES = "deleted_at TIMESTAMP, updated_at TIMESTAMP, _loaded_at TIMESTAMP"
DROP = Call("max_deletion_rate(max_rate := 0.2, min_rows := 1)", SOFT_DELETES)
DROP_OF_100 = Call("max_deletion_rate(max_rate := 0.2)", SOFT_DELETES)
NET = Call(
    "forall(criteria := (net IS NOT NULL, net IS NOT DISTINCT FROM gross - discount, discount <= gross))",
    "id INT, gross DECIMAL(18, 2), discount DECIMAL(18, 2), net DECIMAL(18, 2)",
)
NET_SINCE = Call(
    "forall(criteria := net IS NOT DISTINCT FROM gross - discount, condition := _loaded_at >= '2026-01-06'::TIMESTAMP)",
    "id INT, gross DECIMAL(18, 2), discount DECIMAL(18, 2), net DECIMAL(18, 2), _loaded_at TIMESTAMP",
)
FILLED = Call("not_null(columns := id)", "id INT")
BOTH_FILLED = Call("not_null(columns := (id, name))", "id INT, name VARCHAR")
FILLED_IF_VALID = Call(
    "not_null(columns := (id, name), condition := is_valid)", "id INT, name VARCHAR, is_valid BOOLEAN"
)
ANOMALY = Call("forall_non_blocking(criteria := NOT is_anomaly)", "id INT, is_anomaly BOOLEAN")
ANOMALY_IF_VALID = Call(
    "forall_non_blocking(criteria := NOT is_anomaly, condition := is_valid)",
    "id INT, is_anomaly BOOLEAN, is_valid BOOLEAN",
)
PARENT = Call(
    "relationships(column := parent_id, parent := audited.other, parent_column := id)", "parent_id INT", "id INT"
)
COUNTS = Call(
    "row_counts_reconcile(against := audited.other, key := id)",
    "id INT, reject_reasons VARCHAR, _loaded_at TIMESTAMP",
    "id INT, _loaded_at TIMESTAMP",
)
COUNTS_TWO_KEYS = Call(
    "row_counts_reconcile(against := audited.other, key := (id, line))",
    "id INT, line INT, reject_reasons VARCHAR, _loaded_at TIMESTAMP",
    "id INT, line INT, _loaded_at TIMESTAMP",
)
COUNTS_SINCE = Call(
    "row_counts_reconcile(against := audited.other, key := id, since := '2026-01-06'::TIMESTAMP)",
    "id INT, reject_reasons VARCHAR, _loaded_at TIMESTAMP",
    "id INT, _loaded_at TIMESTAMP",
)
TOTAL = Call(
    "totals_reconcile(measures := amount, against := audited.other, by := day)",
    "day INT, amount DECIMAL(18, 2)",
    "day INT, amount DECIMAL(18, 2)",
)
TOTALS = Call(
    "totals_reconcile(measures := (amount, 1), against := audited.other, "
    "against_measures := (paid, n), by := (day, city))",
    "day INT, city VARCHAR, amount DECIMAL(18, 2)",
    "day INT, city VARCHAR, paid DECIMAL(18, 2), n INT",
)
LEVEL = Call("accepted_values(column := level, is_in := ('Low', 'High'))", "level VARCHAR")

MON, TUE, WED, THU, NEXT_MON, NEXT_TUE, THE_MON_AFTER = (f"'2026-01-{day:02}'" for day in (5, 6, 7, 8, 12, 13, 19))
YEARS_AGO = "'2020-01-01'"


def active(count: int, loaded_at: str) -> str:
    """That many active rows, which the source last wrote years ago."""
    return ", ".join([f"(NULL, {YEARS_AGO}, {loaded_at})"] * count)


def deleted(count: int, loaded_at: str, *, deleted_at: str = "", updated_at: str = "") -> str:
    """That many soft-deleted rows, written on the day of their load unless given."""
    return ", ".join([f"({deleted_at or loaded_at}, {updated_at or deleted_at or loaded_at}, {loaded_at})"] * count)


def loaded(rows: str, day: str = MON) -> str:
    """`rows` with the day they loaded as their last column."""
    return rows.replace(")", f", {day})")


CASES = (
    Case(KEY, "a row per key", "(1), (2)"),
    Case(KEY, "a key twice", "(1), (2), (2)", finds=(2,)),
    Case(KEY, "no key twice", "(1), (NULL), (NULL)", finds=(None,)),
    Case(TWO_KEYS, "half of the key repeated", f"(1, {MON}), (1, {TUE}), (2, {MON})"),
    Case(TWO_KEYS, "the full key repeated", f"(1, {MON}), (1, {MON}), (2, {MON})", finds=(1,)),
    Case(DROP, "nothing deleted", active(2, MON)),
    Case(DROP, "as many deleted as allowed", f"{active(4, MON)}, {deleted(1, TUE)}"),
    Case(DROP, "more deleted than allowed", f"{active(3, MON)}, {deleted(1, TUE)}", finds=(3,)),
    Case(DROP, "everything deleted", deleted(2, TUE), finds=(0,)),
    Case(
        DROP,
        "deletions of a repair, which the source has not written",
        f"{active(3, MON)}, {deleted(1, NEXT_MON, updated_at=YEARS_AGO)}",
        finds=(3,),
    ),
    Case(
        DROP,
        "deletions that the source dates back",
        f"{active(3, MON)}, {deleted(1, THE_MON_AFTER, deleted_at=YEARS_AGO)}",
        finds=(3,),
    ),
    Case(
        DROP,
        "deletions seven days before the newest load",
        f"{active(2, MON)}, {deleted(1, TUE)}, {active(1, NEXT_TUE)}",
        finds=(3,),
    ),
    Case(
        DROP,
        "deletions more than seven days before the newest load",
        f"{active(2, MON)}, {deleted(1, MON)}, {active(1, NEXT_TUE)}",
    ),
    Case(
        DROP,
        "a first load with many old deletions",
        f"{active(3, MON)}, {deleted(3, MON, deleted_at=YEARS_AGO)}",
    ),
    Case(
        DROP,
        "a first load with many old deletions, and loads after it",
        f"{active(3, MON)}, {deleted(3, MON, deleted_at=YEARS_AGO)}, {active(1, TUE)}, {deleted(1, WED)}",
    ),
    Case(
        DROP,
        "deletions that the source dates back, written the day after a first load",
        f"{active(3, MON)}, {deleted(1, TUE, deleted_at=YEARS_AGO, updated_at=TUE)}",
        finds=(3,),
    ),
    Case(
        DROP,
        "a first load with many new deletions",
        f"{active(3, NEXT_MON)}, {deleted(3, NEXT_MON, deleted_at=THU)}",
        finds=(3,),
    ),
    Case(
        DROP,
        "a full load, and many deletions after it",
        f"{active(3, MON)}, {deleted(3, MON, deleted_at=YEARS_AGO)}, {deleted(1, TUE)}",
        finds=(3,),
    ),
    Case(
        DROP,
        # Merged by key, so it leaves a row that the source has hard-deleted as it was.
        "a full load with many old deletions, and a row that has left the source",
        f"{active(1, MON)}, {active(3, THE_MON_AFTER)}, {deleted(3, THE_MON_AFTER, deleted_at=YEARS_AGO)}",
    ),
    Case(DROP_OF_100, "a table too small to validate", deleted(99, TUE)),
    Case(
        DROP_OF_100,
        "a table just large enough to validate",
        f"{active(79, MON)}, {deleted(21, TUE)}",
        finds=(79,),
    ),
    Case(NET, "gross less discount", "(1, 10.00, 2.50, 7.50), (2, 10.00, 10.00, 0.00)"),
    Case(NET, "net off by a cent", "(1, 10.00, 2.50, 7.50), (2, 10.00, 2.50, 7.51)", finds=(2,)),
    Case(NET, "discount above gross", "(1, 10.00, 2.50, 7.50), (2, 10.00, 10.01, -0.01)", finds=(2,)),
    Case(NET, "no gross", "(1, 10.00, 2.50, 7.50), (2, NULL, 2.50, 7.50)", finds=(2,)),
    Case(NET, "no net", "(1, 10.00, 2.50, 7.50), (2, NULL, NULL, NULL)", finds=(2,)),
    Case(NET_SINCE, "net off by a cent in a row loaded before", loaded("(1, 10.00, 2.50, 7.51)")),
    Case(
        NET_SINCE,
        "net off by a cent in a row loaded since",
        f"{loaded('(1, 10.00, 2.50, 7.51)')}, {loaded('(2, 10.00, 2.50, 7.51)', TUE)}",
        finds=(2,),
    ),
    Case(FILLED, "no hole", "(1), (0)"),
    Case(FILLED, "a hole in the only column", "(1), (NULL)", finds=(None,)),
    Case(BOTH_FILLED, "an empty string", "(1, '')"),
    Case(BOTH_FILLED, "a hole in the first column", "(1, 'a'), (NULL, 'b')", finds=(None,)),
    Case(BOTH_FILLED, "a hole in the last column", "(1, 'a'), (2, NULL)", finds=(2,)),
    Case(FILLED_IF_VALID, "a hole that the condition excludes", "(1, NULL, FALSE), (NULL, 'b', FALSE)"),
    Case(FILLED_IF_VALID, "a hole that the condition includes", "(1, NULL, TRUE), (2, NULL, FALSE)", finds=(1,)),
    Case(ANOMALY, "no anomaly", "(1, FALSE), (2, NULL)"),
    Case(ANOMALY, "an anomaly", "(1, FALSE), (2, TRUE)", finds=(2,)),
    Case(ANOMALY_IF_VALID, "an anomaly that the condition excludes", "(1, TRUE, FALSE)"),
    Case(ANOMALY_IF_VALID, "an anomaly that the condition includes", "(1, TRUE, FALSE), (2, TRUE, TRUE)", finds=(2,)),
    Case(PARENT, "a parent each", "(1), (1), (2)", "(1), (2), (3)"),
    Case(PARENT, "no key at all", "(NULL)", "(1)"),
    Case(PARENT, "two children without a parent", "(1), (9), (9)", "(1)", finds=(9,)),
    Case(PARENT, "a parent without a key", "(1), (9)", "(1), (NULL)", finds=(9,)),
    Case(
        COUNTS,
        "accepted and rejected",
        loaded("(1, NULL), (1, 'duplicate'), (NULL, 'missing')"),
        loaded("(1), (1), (NULL)"),
    ),
    Case(
        COUNTS,
        "loaded after the model ran",
        loaded("(1, NULL)"),
        loaded("(1)") + ", " + loaded("(1), (2)", TUE),
    ),
    Case(COUNTS, "a row lost", loaded("(1, NULL)"), loaded("(1), (2)"), finds=(2,)),
    Case(COUNTS, "a row without a key lost", loaded("(1, NULL)"), loaded("(1), (NULL)"), finds=(None,)),
    Case(COUNTS, "an older row of a key lost", loaded("(1, NULL)"), loaded("(1), (1)"), finds=(1,)),
    Case(COUNTS, "a row accepted twice", loaded("(1, NULL), (2, NULL), (2, NULL)"), loaded("(1), (2)"), finds=(2,)),
    Case(COUNTS, "a row both accepted and rejected", loaded("(1, NULL), (1, 'bad')"), loaded("(1)"), finds=(1,)),
    Case(COUNTS, "a row that was never loaded", loaded("(1, NULL), (9, 'bad')"), loaded("(1)"), finds=(9,)),
    Case(COUNTS, "one lost and another doubled", loaded("(1, NULL), (1, NULL)"), loaded("(1), (2)"), finds=(1, 2)),
    Case(
        COUNTS_SINCE,
        "an older row that was loaded before",
        loaded("(1, NULL), (1, 'copy')", TUE),
        f"{loaded('(1)')}, {loaded('(1)', TUE)}",
    ),
    Case(
        COUNTS_SINCE,
        "a row lost since",
        f"{loaded('(1, NULL)')}, {loaded('(3, NULL)', TUE)}",
        f"{loaded('(1)')}, {loaded('(2), (3)', TUE)}",
        finds=(2,),
    ),
    Case(
        COUNTS_SINCE,
        "a key that was loaded after the model ran",
        loaded("(1, NULL)", TUE),
        loaded("(1), (2)", WED),
    ),
    Case(
        COUNTS_SINCE,
        "a row doubled since",
        f"{loaded('(1, NULL)')}, {loaded('(2, NULL), (2, NULL)', TUE)}",
        f"{loaded('(1)')}, {loaded('(2)', TUE)}",
        finds=(2,),
    ),
    Case(COUNTS_SINCE, "an older row that is gone", loaded("(1, NULL), (2, NULL)"), loaded("(1)"), finds=(None,)),
    Case(
        COUNTS_SINCE,
        "an older row that is gone while another is lost",
        f"{loaded('(1, NULL), (2, NULL)')}, {loaded('(3, NULL)', WED)}",
        f"{loaded('(1)')}, {loaded('(3), (4)', WED)}",
        finds=(4, None),
    ),
    Case(COUNTS_TWO_KEYS, "two lines of one order", loaded("(1, 1, NULL), (1, 2, 'bad')"), loaded("(1, 1), (1, 2)")),
    Case(
        COUNTS_TWO_KEYS,
        "a line that became another",
        loaded("(1, 1, NULL), (1, 1, NULL)"),
        loaded("(1, 1), (1, 2)"),
        finds=(1, 1),
    ),
    Case(TOTAL, "equal sums of other rows", "(1, 2.50), (1, 2.50), (2, 1)", "(1, 5), (2, 1)"),
    Case(TOTAL, "a group of zeros in either table", "(1, 1), (2, 0)", "(1, 1), (3, 0)"),
    Case(TOTAL, "equal sums without a group", "(NULL, 1)", "(NULL, 1)"),
    Case(TOTAL, "a cent too much", "(1, 5.01), (2, 1)", "(1, 5), (2, 1)", finds=(1, 1)),
    Case(TOTAL, "a group missing here", "(1, 5)", "(1, 5), (2, 1)", finds=(2,)),
    Case(TOTAL, "a group missing there", "(1, 5), (2, 1)", "(1, 5)", finds=(2,)),
    Case(TOTAL, "an amount in another group", "(1, 3), (2, 3)", "(1, 2), (2, 4)", finds=(1, 1, 2, 2)),
    Case(TOTALS, "both measures equal", "(1, 'A', 2), (1, 'A', 3), (1, 'B', 0)", "(1, 'A', 5, 2), (1, 'B', 0, 1)"),
    Case(TOTALS, "only the last measure differs", "(1, 'A', 5)", "(1, 'A', 5, 2)", finds=(1, 1)),
    Case(TOTALS, "a group that only the last measure shows", "(1, 'A', 5), (2, 'A', 0)", "(1, 'A', 5, 1)", finds=(2,)),
    Case(TOTALS, "only half of the group agrees", "(1, 'A', 5)", "(1, 'B', 5, 1)", finds=(1, 1)),
    Case(LEVEL, "accepted values and NULL", "('Low'), ('High'), (NULL)"),
    Case(LEVEL, "an unknown value twice", "('Low'), ('high'), ('high')", finds=("high", "high")),
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
def used(warehouse: Context) -> set[str]:
    """The names of the audits in the models' headers."""
    return {name for model in warehouse.models.values() for name, _ in model.audits}


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
def test_only_non_blocking_audits_let_a_run_go_on(
    case: Case, audits: dict[str, ModelAudit], adapter: EngineAdapter
) -> None:
    assert audited(case, audits, adapter).blocking is not case.call.audit.endswith("_non_blocking")


@pytest.mark.parametrize("case", ONE_BAD_OF_EACH.values(), ids=ONE_BAD_OF_EACH)
def test_an_audit_that_joins_is_hashed_by_equality(
    case: Case, audits: dict[str, ModelAudit], adapter: EngineAdapter
) -> None:
    """For IS NOT DISTINCT FROM, Snowflake may compare each row with each other row. Its plan is unseen."""
    query = audited(case, audits, adapter).query
    conditions = [join.args["on"] for join in query.find_all(exp.Join) if join.args.get("on")]
    assert not [condition for condition in conditions if condition.find(exp.NullSafeEQ)]
    [(_, plan)] = adapter.fetchall(f"EXPLAIN {query.sql(dialect='duckdb')}")
    assert plan.count("HASH_JOIN") >= len(conditions)  # others are with a scalar, of one row


def test_every_audit_of_the_models_has_a_passing_table_and_a_planted_fault(used: set[str]) -> None:
    assert used == {case.call.audit for case in GOOD}, "add a table that passes to CASES"
    assert used == {case.call.audit for case in BAD}, "add a planted fault to CASES"


def test_every_audit_of_the_project_is_used_and_named_as_its_file(used: set[str]) -> None:
    assert {file.stem for file in FILES} == used - set(BUILT_IN_AUDITS)


def test_every_audit_of_the_models_has_a_remedy_and_a_section_of_the_runbook(used: set[str]) -> None:
    assert set(REMEDIES) == used
    sections = re.split(r"^## ", (AUDITS.parent / RUNBOOK).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    beginnings = {name.strip("`"): text.strip() for name, _, text in (section.partition("\n") for section in sections)}
    assert set(beginnings) == used
    for name, text in beginnings.items():
        assert " ".join(text.split()).startswith(REMEDIES[name]), name


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
          audits (unique_combination_of_columns(columns := product_id), not_null_non_blocking(columns := name)));
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


def test_a_blocking_audit_stops_the_plan_and_leaves_prod_as_it_was(shop: Path) -> None:
    assert plan_prod(shop).exit_code == 0
    (shop / "product.csv").write_text("product_id,name\n1,Kettle\n1,Teapot\n")

    result = plan_prod(shop)

    output = "".join(result.output.split())  # the console breaks lines anywhere
    assert result.exit_code == 1
    assert "'unique_combination_of_columns'auditerror:1rowfailed" in output
    assert products(shop) == [(1, "Kettle")]


def test_a_blocking_audit_stops_the_first_plan_before_prod_has_the_view(shop: Path) -> None:
    (shop / "product.csv").write_text("product_id,name\n1,Kettle\n1,Teapot\n")
    assert plan_prod(shop).exit_code == 1
    context = Context(paths=str(shop))
    assert not context.engine_adapter.table_exists("shop.product")
    context.close()


def test_a_non_blocking_audit_warns_and_the_row_is_promoted(shop: Path) -> None:
    (shop / "product.csv").write_text("product_id,name\n1,Kettle\n2,\n")
    result = plan_prod(shop)
    assert result.exit_code == 0
    assert "'not_null_non_blocking'auditerror:1rowfailed" in "".join(result.output.split())
    assert products(shop) == [(1, "Kettle"), (2, None)]
