"""The life cycle of prod and its environments on Snowflake, checked by the statements sent and the rows returned.

The tests run in the order of the life cycle and share one warehouse. Each leaves prod in a state that the next can use.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import load, write
from emulated import NEW_ACCOUNT, Snowflake
from sources import SourceDatabase
from sqlmesh.core.context import Context
from sqlmesh.utils.errors import PlanError
from workspace import Workspace, plan, run, table_writes, writes

from meshflow.cli import main
from meshflow.masking import find_unmasked, masked_columns

DAYS = "models/intermediate/int_retail__sales_aggregated.sql"
DAYS_COLUMN = "  line_count::INT AS line_count, /* Lines sold */\n"
NEW_COLUMN = (
    f"{DAYS_COLUMN}  (line_count - order_count)::INT AS further_count, /* Lines beyond the first of an order */\n"
)
VIEWS_OF_DAYS = ["shared.dim_location", "retail.rpt_revenue_daily"]
VERSIONS = {
    f"INTERMEDIATE__INT_{entity}_VERSIONS" for entity in ("EDTECH__STUDENT", "EDTECH__COURSE", "RETAIL__CUSTOMER")
}

FIGURES = "SELECT * FROM ANALYTICS.RETAIL.RPT_NET_REVENUE_BY_CITY ORDER BY LOCATION_ID"


@contextmanager
def changed(workspace: Workspace, file: str, old: str, new: str) -> Iterator[Context]:
    """The project with one file changed while the block runs."""
    before = (workspace.path / file).read_text()
    workspace.edit(file, old, new)
    try:
        yield workspace.context("snowflake")
    finally:
        (workspace.path / file).write_text(before)


def tables_written(statements: list[str]) -> set[str]:
    """Names of the tables created or written to, without their version: RETAIL__DIM_PRODUCT."""
    written = [re.findall(r'"SQLMESH_\w+"\."(\w+?__\w+?)__\d+(?:__dev)?"', sql)[:1] for sql in table_writes(statements)]
    return {table for tables in written for table in tables}


def transactions(entries: list[dict[str, Any]]) -> list[list[str]]:
    """The statements of each transaction that SQLMesh began and committed, without comments.

    They contain every statement in between, because Snowflake commits the transaction before a statement like CREATE.
    """
    found, opened = list[list[str]](), dict[str, list[str]]()
    for entry in entries:
        statement = re.sub(r"/\*.*?\*/", "", entry["statement"]).strip()
        if statement == "BEGIN":
            opened[entry["session"]] = []
        elif statement == "COMMIT" and entry["session"] in opened:
            found.append(opened.pop(entry["session"]))
        elif entry["session"] in opened:
            opened[entry["session"]].append(statement)
    assert not opened
    return found


def restate(context: Context, models: list[str]) -> None:
    context.plan("prod", restate_models=models, auto_apply=True, no_prompts=True, skip_tests=True)


def columns(snowflake: Snowflake, view: str) -> set[str]:
    return {row[0] for row in snowflake.query(f"DESCRIBE VIEW ANALYTICS.{view}")}


def test_prod_is_built_by_four_tasks_with_its_state_in_postgresql(workspace: Workspace, snowflake: Snowflake) -> None:
    entries = [entry for entry in snowflake.entries() if entry["user"] == "TRANSFORMER"]
    builders = {entry["session"] for entry in entries if " TABLE " in entry["statement"].split("(")[0]}
    assert len(builders) >= 4
    assert not [entry for entry in entries if re.search(r"_(snapshots|intervals|environments)\b", entry["statement"])]
    context = workspace.context("snowflake")
    assert context.state_reader.get_environment("prod")
    assert len(snowflake.definitions()) == len(
        [model for model in context.models.values() if not model.kind.is_external]
    )
    counts = "SELECT SUM(LOADED_COUNT), SUM(MISSING_COUNT) FROM ANALYTICS.OPS.ROW_RECONCILIATION"
    [(loaded, missing)] = snowflake.query(counts)
    assert loaded > 1000
    assert missing == 0


def test_credits_are_known_by_environment_and_model(workspace: Workspace, snowflake: Snowflake) -> None:
    """The cost view of infra/snowflake reads the statements of the plan, each for a hundredth of a credit.

    What an account records about them has been read in Snowflake's documents only.
    """
    models = {model.name for model in workspace.context("snowflake").models.values()}
    # Only their names: the emulator would rewrite parts of a statement inside of a text too.
    statements = [re.sub(r'[^\w". ]', " ", text) for text in snowflake.statements()]
    [login, *_] = snowflake.logins()
    tag = login["parameters"]["QUERY_TAG"]
    usage = "SNOWFLAKE.ACCOUNT_USAGE"
    for sql in (
        "CREATE DATABASE SNOWFLAKE",
        f"CREATE SCHEMA {usage}",
        f"CREATE TABLE {usage}.QUERY_HISTORY (query_id INT, query_text VARCHAR, start_time TIMESTAMP_LTZ)",
        (
            f"CREATE TABLE {usage}.QUERY_ATTRIBUTION_HISTORY (query_id INT, warehouse_name VARCHAR, query_tag VARCHAR, "
            "start_time TIMESTAMP_LTZ, credits_attributed_compute FLOAT, credits_used_query_acceleration FLOAT)"
        ),
        f"INSERT INTO {usage}.QUERY_HISTORY VALUES "
        + ", ".join(f"({number}, '{text}', CURRENT_TIMESTAMP())" for number, text in enumerate(statements)),
        (
            f"INSERT INTO {usage}.QUERY_ATTRIBUTION_HISTORY "
            f"SELECT query_id, 'TRANSFORM', '{tag}', start_time, 0.01, NULL FROM {usage}.QUERY_HISTORY"
        ),
        (
            f"INSERT INTO {usage}.QUERY_ATTRIBUTION_HISTORY VALUES "
            "(-1, 'CI', 'sqlmesh pr_12', CURRENT_TIMESTAMP(), 0.5, 0.25), "
            "(-2, 'TRANSFORM', 'meshflow load', CURRENT_TIMESTAMP(), 1, NULL)"
        ),
        "CREATE SCHEMA ANALYTICS.COST",
        next(text for text in NEW_ACCOUNT.read_text().split(";\n") if '"COST"."DAILY_CREDITS"\n' in text),
    ):
        snowflake.query(sql)
    view = "ANALYTICS.COST.DAILY_CREDITS"
    environment = tag.removeprefix("sqlmesh ")
    [(count, credits_)] = snowflake.query(
        f"SELECT SUM(statement_count), SUM(credits) FROM {view} WHERE environment = '{environment}'"
    )
    assert count == len(statements)
    assert credits_ == pytest.approx(len(statements) / 100)
    is_other = f"environment IS DISTINCT FROM '{environment}'"
    others = f"SELECT environment, pull_request, model, credits FROM {view} WHERE {is_other}"
    assert set(snowflake.query(others)) == {("pr_12", 12, None, 0.75), (None, None, None, 1.0)}
    named = {model for (model,) in snowflake.query(f"SELECT DISTINCT model FROM {view} WHERE model IS NOT NULL")}
    built = {
        f"{name.split('__')[0]}.{name.split('__', 1)[1]}".lower() for name in tables_written(snowflake.statements())
    }
    assert built <= named <= models
    snowflake.query("DROP VIEW " + view)


MASKED_FROM = ("ANALYST__B_ROLE", "DASHBOARDS__U_ROLE", "DATA_TEAM__B_ROLE", "LOADER__U_ROLE")
SHOWN_TO = ("PII_READER__B_ROLE", "CI__U_ROLE", "TRANSFORMER__U_ROLE")


@pytest.fixture(scope="module")
def masked(workspace: Workspace, snowflake: Snowflake) -> dict[str, set[str]]:
    """The masked columns by model. All roles are granted their views, so that masks alone decide."""
    context = workspace.context("snowflake")
    masked = {model.name: found for model in context.models.values() if (found := masked_columns(model))}
    for role in MASKED_FROM + SHOWN_TO:
        snowflake.query(f"GRANT USAGE ON DATABASE ANALYTICS TO ROLE {role}")
        for schema in {name.split(".")[0] for name in masked}:
            snowflake.query(f"GRANT USAGE ON SCHEMA ANALYTICS.{schema} TO ROLE {role}")
            snowflake.query(f"GRANT SELECT ON ALL VIEWS IN SCHEMA ANALYTICS.{schema} TO ROLE {role}")
    return masked


def read(snowflake: Snowflake, columns: dict[str, set[str]], role: str) -> set[object]:
    """Every value that a role sees in the columns."""
    queries = [f"SELECT {column}::VARCHAR FROM ANALYTICS.{view}" for view in columns for column in columns[view]]
    return {value for (value,) in snowflake.query(" UNION ".join(queries), role)}


def test_every_personal_identifier_is_masked(workspace: Workspace, masked: dict[str, set[str]]) -> None:
    context = workspace.context("snowflake")
    described = {
        f"{model.name}.{column}".lower()
        for model in context.models.values()
        for column, text in model.column_descriptions.items()
        if "masked on Snowflake" in text
    }
    assert described
    found = {f"{name}.{column}" for name, columns in masked.items() for column in columns}
    assert found == described | {
        f"pii.student.{column}" for column in ("first_name", "last_name", "email", "date_of_birth")
    } | {
        f"quarantine.{column}"
        for column in ("edtech_student.first_name", "edtech_student.last_name", "retail_sales.customer_name")
    }


@pytest.mark.parametrize("role", MASKED_FROM)
def test_a_role_without_pii_reader_sees_asterisks(role: str, masked: dict[str, set[str]], snowflake: Snowflake) -> None:
    assert read(snowflake, masked, role) == {"***", None}


@pytest.mark.parametrize("role", SHOWN_TO)
def test_a_pii_reader_and_the_pipeline_see_values(role: str, masked: dict[str, set[str]], snowflake: Snowflake) -> None:
    seen = read(snowflake, masked, role)
    assert "***" not in seen
    assert len(seen) > 100


def test_no_statement_of_a_promotion_shows_a_masked_column(
    workspace: Workspace, masked: dict[str, set[str]], snowflake: Snowflake
) -> None:
    """Replays a promotion and its reversal: the state after each statement is what a kill would leave."""
    gender = ("gender::VARCHAR AS gender", "UPPER(gender)::VARCHAR AS gender")
    with (
        changed(workspace, "models/edtech/dim_student.sql", *gender),
        changed(workspace, "models/pii/student.sql", "email)::VARCHAR AS", "LOWER(email))::VARCHAR AS"),
        snowflake.sent() as promotion,
    ):
        plan(workspace.context("snowflake"), "prod")
    with snowflake.sent() as reversal:
        plan(workspace.context("snowflake"), "prod")
    replaced = 0
    for statement in writes(promotion) + writes(reversal):
        snowflake.query(statement, "TRANSFORMER__U_ROLE")
        if re.match(r"CREATE OR REPLACE VIEW", statement):
            replaced += 1
            assert read(snowflake, masked, "ANALYST__B_ROLE") == {"***", None}, statement
    assert replaced > 4


def test_a_view_that_was_replaced_by_hand_without_its_mask_is_found(
    workspace: Workspace, snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = workspace.context("snowflake")
    snapshots = context.snapshots.values()
    assert find_unmasked(context, snapshots) == {}
    physical = context.get_snapshot("edtech.dim_student", raise_if_missing=True).table_name()
    view = "CREATE OR REPLACE VIEW ANALYTICS.EDTECH.DIM_STUDENT AS SELECT"
    snowflake.query(f"{view} STUDENT_ID, FULL_NAME FROM {physical}")
    try:
        assert find_unmasked(context, snapshots).keys() == {"edtech.dim_student.full_name"}
        monkeypatch.chdir(workspace.path)
        result = CliRunner(env=workspace.environment).invoke(main, ["audit", "--gateway", "snowflake", "--json"])
        assert result.exit_code == 1, result.output
        assert json.loads(result.stdout)["unmasked"] == ["edtech.dim_student.full_name"]
    finally:
        snowflake.query(f"{view} * FROM {physical}")


def test_big_tables_that_can_be_rebuilt_from_raw_are_transient_and_none_is_clustered(
    workspace: Workspace, snowflake: Snowflake
) -> None:
    """Checks the statements, because the emulator has neither. Clustering is serverless: no monitor stops it."""
    created = [one for one in snowflake.statements() if re.search(r"CREATE (OR REPLACE )?(TRANSIENT )?TABLE", one)]

    def creations_of(names: str) -> list[str]:
        return [one for one in created if re.search(rf"({names})__\d+\"", one.split("(")[0].split(" AS ")[0])]

    assert creations_of("ENROLLMENTS_RANKED")
    assert creations_of("SALES_VALIDATED")
    replaced = [model for model in workspace.context("snowflake").models.values() if model.kind.is_full]
    names = "|".join(["SALES_VALIDATED", "ENROLLMENTS_RANKED", *(model.view_name.upper() for model in replaced)])
    assert len(replaced) > 2
    assert len(creations_of(names)) >= len(replaced)
    assert all(" TRANSIENT TABLE " in one for one in creations_of(names))
    assert not [one for one in snowflake.statements() if re.search(r"\bCLUSTER\s+BY\b", one)]
    assert creations_of(r"\w+_VERSIONS")
    assert not [one for one in creations_of(r"\w+_VERSIONS") if " TRANSIENT " in one]


def test_sessions_are_in_utc_and_tagged_as_sqlmesh(workspace: Workspace, snowflake: Snowflake) -> None:
    for login in snowflake.logins():
        assert (login["roleName"], login["warehouse"]) == ("TRANSFORMER__U_ROLE", "TRANSFORM")
        assert login["parameters"]["TIMEZONE"] in {"UTC", "Etc/UTC"}, "as the emulator returns it for the first login"
        assert login["parameters"]["TIMESTAMP_TYPE_MAPPING"] == "TIMESTAMP_NTZ"
        assert login["parameters"]["DEFAULT_NULL_ORDERING"] == "LAST"
        assert login["parameters"]["QUERY_TAG"].startswith("sqlmesh ")


def test_planning_dev_with_nothing_changed_writes_nothing(workspace: Workspace, snowflake: Snowflake) -> None:
    with snowflake.sent() as first:
        plan(workspace.context("snowflake"), "dev")
    # Forward-only models get empty tables that no view reads: dev fills one only if its model has changed there.
    assert tables_written(first) <= VERSIONS
    assert not [one for one in table_writes(first) if re.search(r" AS (SELECT|WITH) ", one)]
    assert writes(first), "dev gets its views"
    with snowflake.sent() as again:
        plan(workspace.context("snowflake"), "dev")
    assert writes(again) == []


def test_a_non_breaking_change_builds_its_own_table_and_leaves_prod_alone(
    workspace: Workspace, snowflake: Snowflake
) -> None:
    before = snowflake.definitions()
    with changed(workspace, DAYS, DAYS_COLUMN, NEW_COLUMN) as context, snowflake.sent() as statements:
        plan(context, "dev")
    assert tables_written(statements) == {"INTERMEDIATE__INT_RETAIL__SALES_AGGREGATED"}
    assert snowflake.definitions() == before
    assert "FURTHER_COUNT" in columns(snowflake, "INTERMEDIATE__DEV.INT_RETAIL__SALES_AGGREGATED")
    assert "FURTHER_COUNT" not in columns(snowflake, "INTERMEDIATE.INT_RETAIL__SALES_AGGREGATED")


def test_promotion_swaps_views_and_builds_nothing(workspace: Workspace, snowflake: Snowflake) -> None:
    with changed(workspace, DAYS, DAYS_COLUMN, NEW_COLUMN) as context:
        plan(context, "dev")
        in_dev = snowflake.definitions("INTERMEDIATE__DEV")["INTERMEDIATE__DEV.INT_RETAIL__SALES_AGGREGATED"]
        with snowflake.sent() as statements:
            plan(workspace.context("snowflake"), "prod")
    assert [one for one in statements if one.startswith("CREATE OR REPLACE VIEW")]
    assert table_writes(statements) == []
    assert "FURTHER_COUNT" in columns(snowflake, "INTERMEDIATE.INT_RETAIL__SALES_AGGREGATED")
    in_prod = snowflake.definitions()["INTERMEDIATE.INT_RETAIL__SALES_AGGREGATED"]
    assert re.findall(r"AGGREGATED__\d+", in_prod) == re.findall(r"AGGREGATED__\d+", in_dev)
    with snowflake.sent() as statements:
        plan(workspace.context("snowflake"), "prod")  # back to the table that still exists
    assert table_writes(statements) == []
    assert "FURTHER_COUNT" not in columns(snowflake, "INTERMEDIATE.INT_RETAIL__SALES_AGGREGATED")
    # SQLMesh replaces the views that read a changed table on the way there, but not on the way back.
    restate(workspace.context("snowflake"), VIEWS_OF_DAYS)


def test_a_breaking_change_rebuilds_what_depends_on_it(workspace: Workspace, snowflake: Snowflake) -> None:
    file, old = "models/intermediate/int_retail__sales_validated.sql", "  FROM ranked\n  CROSS JOIN bounds\n"
    new = f"{old}  CROSS JOIN (SELECT 1 AS one) AS once\n"
    with changed(workspace, file, old, new) as context, snowflake.sent() as statements:
        plan(context, "dev")
    assert tables_written(statements) - VERSIONS == {
        *(
            f"INTERMEDIATE__INT_RETAIL__{table}"
            for table in ("SALES_VALIDATED", "SALES_AGGREGATED", "CUSTOMERS_DERIVED")
        ),
        *(f"OPS__{table}_RECONCILIATION" for table in ("ROW", "SOURCE")),
    }


def test_the_janitor_drops_what_only_an_invalidated_environment_used(
    workspace: Workspace, snowflake: Snowflake
) -> None:
    with changed(workspace, DAYS, DAYS_COLUMN, NEW_COLUMN) as context:
        plan(context, "dev")
    context = workspace.context("snowflake")
    plan(context, "prod")
    tables_of_prod = {snapshot.table_name().split(".")[-1].strip('"') for snapshot in context.snapshots.values()}
    before = snowflake.definitions()
    tables = "SELECT TABLE_SCHEMA, TABLE_NAME FROM ANALYTICS.INFORMATION_SCHEMA.TABLES"
    used = {name for schema, name in snowflake.query(tables) if schema.startswith("SQLMESH_")}
    context.invalidate_environment("dev", sync=True)
    context.run_janitor(ignore_ttl=True)
    rows = snowflake.query(tables)
    assert not [schema for schema, _ in rows if schema.endswith("__DEV")]
    physical = {name for schema, name in rows if schema.startswith("SQLMESH_")}
    assert "INTERMEDIATE__INT_RETAIL__SALES_AGGREGATED" in {name.rsplit("__", 1)[0] for name in used - physical}
    assert physical & tables_of_prod == used & tables_of_prod
    assert {name.rsplit("__", 2)[0] for name in physical - tables_of_prod} <= VERSIONS
    assert snowflake.definitions() == before
    assert snowflake.query(FIGURES)


def test_a_forward_only_column_is_added_to_prods_own_table(workspace: Workspace, snowflake: Snowflake) -> None:
    file = "models/intermediate/int_retail__sales_validated.sql"
    old = "lines.order_date::DATE AS order_date, /* Day the order was placed, UTC */"
    new = f"{old}\n  MONTH(lines.order_date)::INT AS order_month, /* Month of that day */"
    table = "SELECT COUNT(*) FROM ANALYTICS.INTERMEDIATE.INT_RETAIL__SALES_VALIDATED"
    rows = snowflake.query(table)
    options = {"auto_apply": True, "no_prompts": True, "skip_tests": True, "forward_only": True}
    with changed(workspace, file, old, new) as context:
        with snowflake.sent() as in_dev:
            context.plan("dev", **options)
        assert "ORDER_MONTH" not in columns(snowflake, "INTERMEDIATE.INT_RETAIL__SALES_VALIDATED")
        with snowflake.sent() as promoted:
            workspace.context("snowflake").plan("prod", **options)
        assert [one for one in in_dev if re.match(r"CREATE TABLE.* CLONE ", one)]
        added = [one for one in promoted if one.startswith("ALTER TABLE") and 'ADD "ORDER_MONTH"' in one]
        assert len(added) == 1, promoted
        assert not [
            one
            for one in promoted
            if re.match(r"CREATE (OR REPLACE )?(TRANSIENT )?TABLE.*SALES_VALIDATED__\d+\".* AS ", one)
        ]
        assert "ORDER_MONTH" in columns(snowflake, "INTERMEDIATE.INT_RETAIL__SALES_VALIDATED")
        assert snowflake.query(table) == rows


def test_a_failing_audit_stops_promotion_and_prod_keeps_serving(workspace: Workspace, snowflake: Snowflake) -> None:
    before, figures = snowflake.definitions(), snowflake.query(FIGURES)
    doubled = ("SUM(sales.net_revenue_amount)", "SUM(sales.net_revenue_amount * 2)")
    file = "models/retail/rpt_net_revenue_by_city.sql"
    with changed(workspace, file, *doubled) as context, pytest.raises(PlanError):
        plan(context, "prod")
    assert snowflake.definitions() == before
    assert snowflake.query(FIGURES) == figures


def test_a_later_interval_replaces_the_rows_of_affected_keys(
    workspace: Workspace, snowflake: Snowflake, sources: SourceDatabase, data: Path
) -> None:
    plan(workspace.context("snowflake"), "prod")
    count = "SELECT COUNT(*) FROM ANALYTICS.RETAIL.FCT_SALES"
    [(before,)] = snowflake.query(count)
    write(sources, seed=7)
    load(sources, data, at=datetime.now(UTC) + timedelta(minutes=90))
    load(sources, data, at=datetime.now(UTC) + timedelta(hours=3))
    start = len(snowflake.entries())
    run(workspace.context("snowflake"), at=datetime.now(UTC) + timedelta(hours=3))
    replaced = {}
    for statements in transactions(snowflake.entries()[start:]):
        [table] = set(re.findall(r"^(?:DELETE FROM|INSERT INTO) (\S+)", "\n".join(statements), re.MULTILINE))
        shapes = [re.sub(r'"[^"]+"', "x", one) for one in statements]
        assert shapes[:2] == [
            "DELETE FROM x.x.x WHERE x IN (SELECT x FROM x.x.x)",
            "DELETE FROM x.x.x WHERE x IS NULL",
        ]
        [inserted] = shapes[2:]
        assert inserted.startswith("INSERT INTO x.x.x (x, ")
        replaced[re.findall(r"INT_\w+?(?=__\d)", table)[0]] = statements
    assert replaced.keys() == {
        "INT_EDTECH__STUDENTS_VALIDATED", "INT_EDTECH__COURSES_VALIDATED", "INT_EDTECH__ENROLLMENTS_RANKED",
        "INT_RETAIL__SALES_VALIDATED", "INT_RETAIL__SALES_AGGREGATED", "INT_RETAIL__CUSTOMERS_DERIVED",
    }  # fmt: skip
    [(after,)] = snowflake.query(count)
    assert after > before
    [(facts,)] = snowflake.query("SELECT SUM(NET_REVENUE_AMOUNT) FROM ANALYTICS.RETAIL.FCT_SALES")
    [(report,)] = snowflake.query("SELECT SUM(NET_REVENUE_AMOUNT) FROM ANALYTICS.RETAIL.RPT_NET_REVENUE_BY_COUNTRY")
    assert facts == report > 0


def test_a_restatement_recomputes_lost_rows(workspace: Workspace, snowflake: Snowflake) -> None:
    context = workspace.context("snowflake")
    table = context.get_snapshot("intermediate.int_retail__sales_validated", raise_if_missing=True).table_name()
    figures = snowflake.query(FIGURES)
    snowflake.query(f"DELETE FROM {table} WHERE IS_VALID")
    restate(context, ["intermediate.int_retail__sales_validated"])
    assert snowflake.query(FIGURES) == figures


def test_names_are_quoted_in_the_case_in_which_they_are_defined(workspace: Workspace, snowflake: Snowflake) -> None:
    """Snowflake's columns are in upper case, and a quoted name has to be in the same case. The emulator ignores it."""
    for statement in snowflake.statements():
        code = re.sub(r"/\*.*?\*/|'(?:[^'\\]|\\.|'')*'", "", statement)
        unknown = set(re.findall(r'"([a-z_\d]*[a-z][a-z_\d]*)"', code)) - set(re.findall(r'\bAS "(\w+)"', code))
        assert not unknown, statement


def test_the_emulator_executed_every_statement(workspace: Workspace, snowflake: Snowflake) -> None:
    assert [entry["statement"] for entry in snowflake.entries() if entry["unchecked"]] == []
