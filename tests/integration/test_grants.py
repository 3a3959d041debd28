"""What each role reads, writes, creates and drops on the emulated account, which enforces infra/snowflake's grants.

tests/infra reads the same grants. Here TRANSFORMER builds prod and CI a pull request, as on Snowflake.
"""

from collections import defaultdict
from collections.abc import Callable

import pytest
from emulated import Snowflake
from snowflake.connector import connect
from snowflake.connector.errors import DatabaseError, ProgrammingError
from workspace import Workspace, plan

from meshflow.snowflake import arguments, login

NOT_SEEN, INSUFFICIENT = 2003, 3001
"""Snowflake's errors: the role has no privilege on the object, or not the one that the statement needs."""

READS = {
    "ANALYST__B_ROLE": {"EDTECH", "HISTORY", "RETAIL", "SHARED"},
    "DASHBOARDS__U_ROLE": {"EDTECH", "OPS", "RETAIL", "SHARED"},
    "DATA_TEAM__B_ROLE": {"OPS", "QUARANTINE"},
    "PII_READER__B_ROLE": {"PII"},
}
"""The schemas of prod that people and dashboards read."""

STUDENT = "models/edtech/dim_student.sql"
GENDER = "gender::VARCHAR AS gender", "UPPER(gender)::VARCHAR AS gender"


@pytest.fixture(scope="module")
def workspace(workspace: Workspace, snowflake: Snowflake) -> Workspace:
    """Prod, and the environment of a pull request that changes a mart, built by CI."""
    workspace.edit(STUDENT, *GENDER)
    plan_as_ci(workspace, snowflake, "pr_1")
    return workspace


def plan_as_ci(workspace: Workspace, snowflake: Snowflake, environment: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHFLOW_SNOWFLAKE_USER", "CI")
        patch.setenv("MESHFLOW_SNOWFLAKE_ROLE", "CI__U_ROLE")
        patch.setenv("MESHFLOW_SNOWFLAKE_PRIVATE_KEY", snowflake.keys.private("CI"))
        plan(workspace.context("snowflake"), environment)


@pytest.fixture(scope="module")
def tables(workspace: Workspace, snowflake: Snowflake) -> list[str]:
    """The full names of all tables and views."""
    return [
        f"{database}.{schema}.{name}"
        for database in ("ANALYTICS", "RAW")
        for schema, name in snowflake.query(
            f"SELECT TABLE_SCHEMA, TABLE_NAME FROM {database}.INFORMATION_SCHEMA.TABLES"
        )
        if schema != "INFORMATION_SCHEMA"
    ]


def error(execute: Callable[[str], object], statement: str) -> int | None:
    """The number of Snowflake's error, or None if the statement succeeds."""
    try:
        execute(statement)
    except ProgrammingError as failed:
        return failed.errno
    return None


def readable(snowflake: Snowflake, tables: list[str], role: str) -> set[str]:
    """The schemas of which the role reads all tables. Fails if it reads a part of one, or sees what it can't read."""
    found = defaultdict(set)
    with snowflake.session(role) as execute:
        for name in tables:
            found[name.rpartition(".")[0]].add(error(execute, f"SELECT COUNT(*) FROM {name}"))
    assert all(numbers in ({None}, {NOT_SEEN}) for numbers in found.values()), found
    return {schema for schema, numbers in found.items() if numbers == {None}}


@pytest.mark.parametrize("role", READS)
def test_people_and_dashboards_read_the_views_of_their_schemas_and_nothing_else(
    role: str, tables: list[str], snowflake: Snowflake
) -> None:
    """Not the tables behind the views, nor environments, nor RAW."""
    assert readable(snowflake, tables, role) == {f"ANALYTICS.{schema}" for schema in READS[role]}


def test_a_grant_too_many_is_seen(tables: list[str], snowflake: Snowflake) -> None:
    role = "ANALYST__B_ROLE"
    grants = ("USAGE ON SCHEMA ANALYTICS.PII", "SELECT ON ALL VIEWS IN SCHEMA ANALYTICS.PII")
    for grant in grants:
        snowflake.query(f"GRANT {grant} TO ROLE {role}")
    try:
        assert readable(snowflake, tables, role) == {f"ANALYTICS.{schema}" for schema in READS[role] | {"PII"}}
    finally:
        for grant in grants:
            snowflake.query(f"REVOKE {grant} FROM ROLE {role}")


def test_the_loader_reads_raw_and_nothing_else(tables: list[str], snowflake: Snowflake) -> None:
    raw = {name.rpartition(".")[0] for name in tables if name.startswith("RAW.")}
    assert {"RAW.EDTECH", "RAW.RETAIL", "RAW.LOADER"} <= raw
    assert readable(snowflake, tables, "LOADER__U_ROLE") == raw


@pytest.mark.parametrize("role", ["CI__U_ROLE", "TRANSFORMER__U_ROLE"])
def test_the_pipeline_reads_everything(role: str, tables: list[str], snowflake: Snowflake) -> None:
    """Personal data too: a pull request is built from prod's rows."""
    assert readable(snowflake, tables, role) == {name.rpartition(".")[0] for name in tables}


@pytest.mark.parametrize("role", ["ANALYST__B_ROLE", "DASHBOARDS__U_ROLE"])
def test_a_masked_column_is_asterisks_to_those_who_read_its_view(
    role: str, workspace: Workspace, snowflake: Snowflake
) -> None:
    names = {name for (name,) in snowflake.query("SELECT FULL_NAME FROM ANALYTICS.EDTECH.DIM_STUDENT", role)}
    assert names == {"***"}
    people = {name for (name,) in snowflake.query("SELECT FIRST_NAME FROM ANALYTICS.PII.STUDENT", "PII_READER__B_ROLE")}
    assert len(people) > 10
    assert "***" not in people


@pytest.fixture(scope="module")
def table(workspace: Workspace) -> str:
    """A stored table of prod, behind its view. TRANSFORMER built it."""
    model = "intermediate.int_retail__sales_validated"
    return workspace.context("snowflake").get_snapshot(model, raise_if_missing=True).table_name()


VIEW, QUOTED = "ANALYTICS.EDTECH.DIM_STUDENT", '"ANALYTICS"."EDTECH"."DIM_STUDENT"'
VIEW_CHANGES = (
    f"CREATE OR REPLACE VIEW {VIEW} AS SELECT 1 AS ONE",
    "CREATE VIEW ANALYTICS.EDTECH.NEW AS SELECT 1 AS ONE",
    f"DROP VIEW {VIEW}",
    f"COMMENT ON VIEW {VIEW} IS 'text'",
    f"ALTER VIEW {VIEW} ALTER COLUMN \"FULL_NAME\" COMMENT 'text'",
)
TABLE_CHANGES = (
    "CREATE TABLE ANALYTICS.EDTECH.NEW (ONE INT)",
    "CREATE OR REPLACE TABLE {table} AS SELECT 1 AS ONE",
    "INSERT INTO {table} SELECT * FROM {table}",
    "DELETE FROM {table}",
    "UPDATE {table} SET IS_VALID = FALSE",
    "MERGE INTO {table} AS t USING {table} AS s ON t.ORDER_ID = s.ORDER_ID WHEN MATCHED THEN DELETE",
    "TRUNCATE TABLE {table}",
    "ALTER TABLE {table} ADD COLUMN ONE INT",
    "DROP TABLE {table}",
    "CREATE TABLE ANALYTICS.RUN_LOG.NEW (ONE INT)",
)
RAW_CHANGES = (
    "INSERT INTO RAW.EDTECH.STUDENTS SELECT * FROM RAW.EDTECH.STUDENTS",
    "DELETE FROM RAW.EDTECH.STUDENTS",
    "DROP TABLE RAW.EDTECH.STUDENTS",
    "CREATE TABLE RAW.EDTECH.NEW (ONE INT)",
    "CREATE SCHEMA RAW.NEW",
    "DROP SCHEMA RAW.EDTECH CASCADE",
)
ADMINISTRATION = (
    "DROP SCHEMA ANALYTICS.EDTECH CASCADE",
    "CREATE DATABASE NEW",
    "DROP DATABASE ANALYTICS",
    f"GRANT SELECT ON VIEW {VIEW} TO ROLE LOADER__U_ROLE",
    "GRANT SELECT ON FUTURE VIEWS IN SCHEMA ANALYTICS.EDTECH TO ROLE LOADER__U_ROLE",
    "GRANT ROLE SNOWDDL_ADMIN TO ROLE CI__U_ROLE",
    "CREATE ROLE NEW",
)


@pytest.mark.parametrize("statement", [*VIEW_CHANGES, *TABLE_CHANGES, *RAW_CHANGES, *ADMINISTRATION])
def test_ci_writes_neither_prod_nor_raw(statement: str, table: str, snowflake: Snowflake) -> None:
    with snowflake.session("CI__U_ROLE") as execute:
        assert error(execute, statement.format(table=table)) == INSUFFICIENT


@pytest.mark.parametrize("statement", [TABLE_CHANGES[0], *RAW_CHANGES, *ADMINISTRATION])
def test_the_transformer_writes_no_raw_and_views_only_into_prod(
    statement: str, workspace: Workspace, snowflake: Snowflake
) -> None:
    with snowflake.session("TRANSFORMER__U_ROLE") as execute:
        assert error(execute, statement) == INSUFFICIENT


@pytest.mark.parametrize("statement", [*VIEW_CHANGES, TABLE_CHANGES[0], *ADMINISTRATION])
def test_an_analyst_writes_nothing(statement: str, workspace: Workspace, snowflake: Snowflake) -> None:
    with snowflake.session("ANALYST__B_ROLE") as execute:
        assert error(execute, statement) == INSUFFICIENT


@pytest.mark.parametrize(
    "statement", [*VIEW_CHANGES, TABLE_CHANGES[0], "CREATE SCHEMA ANALYTICS.NEW", "USE DATABASE ANALYTICS"]
)
def test_the_loader_does_not_see_analytics(statement: str, workspace: Workspace, snowflake: Snowflake) -> None:
    with snowflake.session("LOADER__U_ROLE") as execute:
        assert error(execute, statement) == NOT_SEEN


def test_a_user_takes_only_its_own_roles(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise CI would write prod as TRANSFORMER."""
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_CHECK_USER", "CI")
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_CHECK_PRIVATE_KEY", snowflake.keys.private("CI"))
    monkeypatch.setenv("MESHFLOW_SNOWFLAKE_CHECK_ROLE", "TRANSFORMER__U_ROLE")
    with pytest.raises(DatabaseError, match=r"Role 'TRANSFORMER__U_ROLE' .* is not granted to this user"):
        connect(**arguments(login("CHECK", warehouse="CI")))


def test_prod_promotes_what_ci_built_and_ci_builds_on_it_again(workspace: Workspace, snowflake: Snowflake) -> None:
    """Prod's view then reads a table that CI owns, and still only TRANSFORMER replaces the view."""
    transformer = workspace.context("snowflake")
    with snowflake.sent() as statements:
        plan(transformer, "prod")
    assert [sql for sql in statements if sql.startswith(f"CREATE OR REPLACE VIEW {QUOTED}")]
    built = transformer.get_snapshot("edtech.dim_student", raise_if_missing=True).table_name()
    with snowflake.session("CI__U_ROLE") as execute:
        assert error(execute, f"COMMENT ON VIEW {built} IS 'owned by CI'") is None
        assert error(execute, VIEW_CHANGES[0]) == INSUFFICIENT
    workspace.edit(STUDENT, *reversed(GENDER))
    plan_as_ci(workspace, snowflake, "pr_2")
    for environment in ("pr_1", "pr_2"):
        transformer.invalidate_environment(environment, sync=True)
    schemas = {name for (name,) in snowflake.query("SELECT SCHEMA_NAME FROM ANALYTICS.INFORMATION_SCHEMA.SCHEMATA")}
    assert "EDTECH" in schemas
    assert not [name for name in schemas if "__PR_" in name]
