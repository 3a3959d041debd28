"""Privileges on Snowflake, read from the DDL that SnowDDL generates from infra/snowflake/config/.

No Snowflake runs here: the tests assume that Snowflake enforces its grants.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import cost
import pytest
from sqlglot import exp, parse_one

ROOT = Path(__file__).parents[2]
SNOWFLAKE = ROOT / "infra/snowflake"
MARTS = ("EDTECH", "RETAIL", "SHARED")
PROD = (*MARTS, "HISTORY", "INTERMEDIATE", "OPS", "PII", "QUARANTINE", "STAGING")
ADMIN = "SNOWDDL_ADMIN"

GRANT = re.compile(
    r"GRANT (?P<privilege>[A-Z ]+?) ON (?:(?P<extent>FUTURE|ALL) (?P<kinds>[A-Z ]+?) IN )?(?P<kind>[A-Z ]+) "
    r"(?P<name>[\w.]+) TO ROLE (?P<role>\w+)(?: COPY CURRENT GRANTS)?"
)
MEMBERSHIP = re.compile(r"GRANT ROLE (?P<role>\w+) TO (?:ROLE|USER) (?P<member>\w+)")


@dataclass(frozen=True)
class Grant:
    """A privilege on one object, or on all present and future objects of `kinds` in it."""

    role: str
    privilege: str
    kind: str
    name: str
    kinds: str | None = None

    def __str__(self) -> str:
        return f"{self.privilege} ON {self.kinds + ' IN ' if self.kinds else ''}{self.kind} {self.name}"


def statements(file: str) -> list[str]:
    """The statements of a file, without comments, quotes around names and line breaks."""
    text = re.sub(r"^--.*\n", "", (SNOWFLAKE / file).read_text(), flags=re.MULTILINE)
    return [" ".join(statement.replace('"', "").split()) for statement in text.split(";\n") if statement.strip()]


DDL = statements("new_account.sql")
GRANTS = {Grant(**{k: v for k, v in m.groupdict().items() if k != "extent"}) for s in DDL if (m := GRANT.fullmatch(s))}
MEMBERSHIPS = {(m["role"], m["member"]) for s in DDL if (m := MEMBERSHIP.fullmatch(s))}
ROLES = {s.split()[2] for s in DDL if s.startswith("CREATE ROLE")} | {"CI__U_ROLE"}
USERS = {s.split()[2]: s for s in DDL if s.startswith("CREATE USER")}


@cache
def inherited(role: str) -> frozenset[str]:
    """The role and all roles that it inherits."""
    return frozenset({role}).union(*(inherited(below) for below, member in MEMBERSHIPS if member == role))


def reach(role: str) -> set[str]:
    """All privileges of a role."""
    return {str(grant) for grant in GRANTS if grant.role in inherited(role)}


def holders(privilege: str) -> set[str]:
    """The business roles with the privilege."""
    return {role.removesuffix("__B_ROLE") for role in ROLES if role.endswith("__B_ROLE") and privilege in reach(role)}


def reading(*schemas: str) -> set[str]:
    names = [f"ANALYTICS.{schema}" for schema in schemas]
    return {
        "USAGE ON DATABASE ANALYTICS",
        *(f"USAGE ON SCHEMA {name}" for name in names),
        *(f"SELECT ON VIEWS IN SCHEMA {name}" for name in names),
    }


def using(warehouse: str) -> set[str]:
    return {f"USAGE ON WAREHOUSE {warehouse}"}


@pytest.fixture(scope="module")
def dry_run() -> Iterator[ModuleType]:
    spec = spec_from_file_location("dry_run", SNOWFLAKE / "dry_run.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv)
        spec.loader.exec_module(module)
        yield module


def validate(account: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["-c", SNOWFLAKE / "config", "--placeholder-path", account, "-a-", "-u-", "-p-", "--show-unused-files"]
    command = [Path(sys.executable).with_name("snowddl"), *arguments, "validate"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_configuration_is_valid_and_every_file_is_used() -> None:
    result = validate(SNOWFLAKE / "account.example.yaml")
    assert (result.returncode, result.stderr) == (0, "")


def test_validation_names_a_missing_service_key(tmp_path: Path) -> None:
    account = tmp_path / "account.yaml"
    example = (SNOWFLAKE / "account.example.yaml").read_text()
    account.write_text(example.replace("dashboards_public_key: public-key-of-dashboards\n", ""))
    result = validate(account)
    assert result.returncode == 1
    assert "Unknown placeholder [DASHBOARDS_PUBLIC_KEY]" in result.stderr


def test_a_new_account_gets_the_committed_ddl(dry_run: ModuleType) -> None:
    committed = (SNOWFLAKE / "new_account.sql").read_text().splitlines()
    diff = "\n".join(unified_diff(committed, dry_run.new_account().splitlines(), "committed", "generated", lineterm=""))
    assert not diff, f"infra/snowflake/new_account.sql differs from config/: run dry_run.py and review it\n{diff}"


def test_the_runbook_deploys_as_the_dry_run_does(dry_run: ModuleType) -> None:
    runbook = (ROOT / "docs/runbooks/snowflake-account.md").read_text()
    first, without_keys = re.findall(r"^snowddl (.* apply)$", runbook, re.MULTILINE)
    assert first.split() == ["--apply-unsafe", *dry_run.FLAGS, "apply"]
    assert {"--apply-unsafe", "--apply-network-policy"} <= set(without_keys.split())


def test_every_grant_is_parsed() -> None:
    grants = [s for s in DDL if s.startswith("GRANT")]
    assert [s for s in grants if not GRANT.fullmatch(s) and not MEMBERSHIP.fullmatch(s)] == []
    assert len(GRANTS) > 100


def test_a_statement_names_only_objects_created_before_it() -> None:
    created = {("ROLE", "ACCOUNTADMIN"), ("SCHEMA", "ANALYTICS.PUBLIC"), ("SCHEMA", "RAW.PUBLIC")}
    kinds = r"DATABASE|SCHEMA|WAREHOUSE|RESOURCE MONITOR|NETWORK POLICY|ROLE|USER|VIEW"
    for statement in statements("bootstrap.sql") + DDL:
        code = re.sub(r"'[^']*'", "", statement.replace("_MONITOR = ", " MONITOR ").replace("_POLICY = ", " POLICY "))
        create = re.match(rf"CREATE (OR REPLACE )?(?P<kind>{kinds}) (?P<name>[\w.]+)", code)
        if create:
            created.add((create["kind"], create["name"]))
            continue
        named = set(re.findall(rf"\b({kinds}) (?!ON\b)([\w.]+)", code))
        assert named
        assert named <= created, f"{statement}: not created yet: {named - created}"


def test_a_second_deployment_keeps_the_owners_of_what_sqlmesh_and_the_loader_created(dry_run: ModuleType) -> None:
    assert second_deployment(dry_run, builder="CI__U_ROLE") == []


def test_a_second_deployment_takes_tables_from_business_roles_so_sessions_use_user_roles(dry_run: ModuleType) -> None:
    (transfer,) = second_deployment(dry_run, builder="CI__B_ROLE")
    assert transfer.startswith('GRANT OWNERSHIP ON TABLE "ANALYTICS"."SQLMESH_EDTECH"."DIM_STUDENT__1" TO ROLE')
    assert all(f"DEFAULT_ROLE = {user}__U_ROLE" in statement for user, statement in USERS.items())


def second_deployment(dry_run: ModuleType, builder: str) -> list[str]:
    """The DDL for the roles of an account in use, where `builder` owns the table behind a view of prod."""
    built = {
        Grant(builder, "OWNERSHIP", "TABLE", "ANALYTICS.SQLMESH_EDTECH.DIM_STUDENT__1"),
        Grant("CI__U_ROLE", "OWNERSHIP", "SCHEMA", "ANALYTICS.EDTECH__PR_12"),
        Grant("TRANSFORMER__U_ROLE", "OWNERSHIP", "VIEW", "ANALYTICS.EDTECH.DIM_STUDENT"),
        Grant("ANALYTICS__SQLMESH_EDTECH__READ__S_ROLE", "SELECT", "TABLE", "ANALYTICS.SQLMESH_EDTECH.DIM_STUDENT__1"),
        Grant("ANALYTICS__EDTECH__READ__S_ROLE", "SELECT", "VIEW", "ANALYTICS.EDTECH.DIM_STUDENT"),
        Grant("RAW__OWNER__D_ROLE", "OWNERSHIP", "SCHEMA", "RAW.EDTECH"),
        Grant("RAW__READ__D_ROLE", "USAGE", "SCHEMA", "RAW.EDTECH"),
        Grant("RAW__WRITE__D_ROLE", "USAGE", "SCHEMA", "RAW.EDTECH"),
        Grant("LOADER__U_ROLE", "OWNERSHIP", "TABLE", "RAW.EDTECH.STUDENTS"),
        Grant("RAW__READ__D_ROLE", "SELECT", "TABLE", "RAW.EDTECH.STUDENTS"),
    }
    comments = {
        statement.split()[2]: statement.partition("COMMENT = ")[2].strip("'").replace("''", "'")
        for statement in DDL
        if statement.startswith("CREATE ROLE")
    }

    class AccountInUse(dry_run.NewAccount):
        def rows(self, query: str) -> list[dict[str, object]]:
            name = query.rpartition(" ")[2].strip("'\"")
            if query.startswith("SHOW ROLES"):
                pattern = name.replace("\\\\", "").replace("%", ".*")
                return [
                    {"name": role, "owner": ADMIN, "comment": comments.get(role)}
                    for role in ROLES
                    if re.fullmatch(pattern, role)
                ]
            direct = [grant for grant in GRANTS | built if grant.role == name]
            if query.startswith("SHOW GRANTS TO ROLE"):
                memberships = [Grant(name, "USAGE", "ROLE", below) for below, member in MEMBERSHIPS if member == name]
                return [
                    {"privilege": g.privilege, "granted_on": g.kind.replace(" ", "_"), "name": g.name}
                    for g in direct + memberships
                    if not g.kinds
                ]
            if query.startswith("SHOW FUTURE GRANTS TO ROLE"):
                return [
                    {"privilege": g.privilege, "grant_on": g.kinds[:-1], "name": f"{g.name}.<{g.kinds[:-1]}>"}
                    for g in direct
                    if g.kinds
                ]
            return []

    ddl: list[str] = dry_run.Deployment(AccountInUse(), "--include-object-types=role").ddl
    return ddl


def test_only_prod_writes_the_run_log_and_only_the_pipeline_reads_its_table() -> None:
    """Others read the views in OPS. A pull request can't write what it did, nor what prod did."""
    assert holders("CREATE TABLE ON SCHEMA ANALYTICS.RUN_LOG") == {"TRANSFORMER"}
    assert holders("SELECT ON TABLES IN SCHEMA ANALYTICS.RUN_LOG") == {"CI", "ENGINEER", "TRANSFORMER"}


def test_an_analyst_reads_marts_and_history_and_nothing_else() -> None:
    assert reach("ANALYST__B_ROLE") == reading(*MARTS, "HISTORY") | using("BI")


def test_dashboards_read_marts_and_ops_and_nothing_else() -> None:
    assert reach("DASHBOARDS__U_ROLE") == reading(*MARTS, "OPS") | using("BI")


def test_the_data_team_reads_rejected_rows_ops_and_cost_and_nothing_else() -> None:
    assert reach("DATA_TEAM__B_ROLE") == reading("COST", "OPS", "QUARANTINE") | using("BI")


def test_a_pii_reader_reads_identifiers_and_nothing_else() -> None:
    assert reach("PII_READER__B_ROLE") == reading("PII") | using("BI")


def test_only_pii_readers_and_the_pipeline_read_identifiers() -> None:
    assert holders("SELECT ON VIEWS IN SCHEMA ANALYTICS.PII") == {"CI", "ENGINEER", "PII_READER", "TRANSFORMER"}


def test_the_loader_reaches_raw_and_nothing_else() -> None:
    assert reach("LOADER__U_ROLE") == using("TRANSFORM") | {
        "USAGE ON DATABASE RAW",
        "CREATE SCHEMA ON DATABASE RAW",
        "OWNERSHIP ON SCHEMAS IN DATABASE RAW",
    }


def test_ci_writes_neither_a_schema_of_prod_nor_raw() -> None:
    writes = {privilege for privilege in reach("CI__U_ROLE") if not privilege.startswith(("SELECT ", "USAGE "))}
    assert writes == {
        "CREATE SCHEMA ON DATABASE ANALYTICS",
        *(
            f"CREATE {kind} ON SCHEMA ANALYTICS.SQLMESH_{schema}"
            for kind in ("FILE FORMAT", "STAGE", "TABLE", "VIEW")
            for schema in PROD
        ),
    }


def test_ci_reads_every_upstream_table_of_a_plan() -> None:
    reads = {privilege for privilege in reach("CI__U_ROLE") if privilege.startswith("SELECT ")}
    assert {f"SELECT ON VIEWS IN SCHEMA ANALYTICS.{schema}" for schema in PROD} <= reads
    assert {f"SELECT ON {kind} IN SCHEMA ANALYTICS.SQLMESH_{s}" for s in PROD for kind in ("TABLES", "VIEWS")} <= reads
    assert "SELECT ON TABLES IN DATABASE RAW" in reads


@pytest.mark.parametrize("schema", PROD)
def test_only_the_transformer_creates_views_of_prod(schema: str) -> None:
    assert holders(f"CREATE VIEW ON SCHEMA ANALYTICS.{schema}") == {"TRANSFORMER"}


def test_the_transformer_inherits_ownership_of_tables_that_ci_built() -> None:
    assert "CI__U_ROLE" in inherited("TRANSFORMER__U_ROLE")
    assert "TRANSFORMER__B_ROLE" not in inherited("CI__U_ROLE")


def test_no_role_is_granted_ownership_of_tables_and_views_that_others_create() -> None:
    assert {str(grant) for grant in GRANTS if grant.privilege == "OWNERSHIP"} == {
        "OWNERSHIP ON SCHEMAS IN DATABASE RAW"
    }


def test_no_future_grant_of_a_schema_hides_one_of_its_database() -> None:
    # If a schema has future grants on a kind, Snowflake ignores those of its database on that kind, for all roles.
    of_databases = {(grant.name, grant.kinds) for grant in GRANTS if grant.kinds and grant.kind == "DATABASE"}
    of_schemas = {(grant.name.split(".")[0], grant.kinds) for grant in GRANTS if grant.kinds and grant.kind == "SCHEMA"}
    assert of_databases
    assert of_schemas
    assert not of_databases & of_schemas


def test_every_schema_of_the_project_has_two_on_snowflake() -> None:
    physical = dict(re.findall(r"'\^(\w+)\$': (SQLMESH_\w+)", (ROOT / "config.yaml").read_text()))
    assert set(physical) == {path.name for path in (ROOT / "models").iterdir() if path.is_dir()} - {"raw"}
    created = {s.split()[2] for s in DDL if s.startswith("CREATE SCHEMA")}
    assert created == {
        "ANALYTICS.COST",
        "ANALYTICS.RUN_LOG",
        *(f"ANALYTICS.{name.upper()}" for name in physical),
        *(f"ANALYTICS.{name}" for name in physical.values()),
    }


def identity(environment: str) -> str:
    """The part of a CREATE USER for jobs in an environment of this repository, and no others."""
    return (
        "WORKLOAD_IDENTITY = ( TYPE = 'OIDC' ISSUER = 'https://token.actions.githubusercontent.com' "
        f"SUBJECT = 'repo:myorg@1234567/meshflow@89012345:environment:{environment}' )"
    )


def test_github_signs_in_without_a_key_as_one_user_per_environment_and_from_its_own_runners() -> None:
    environments = {"CI": "snowflake-ci", "LOADER": "snowflake-load", "TRANSFORMER": "snowflake-prod"}
    assert set(USERS) == {*environments, "DASHBOARDS"}
    for user, environment in environments.items():
        assert USERS[user].endswith(f"TYPE = 'SERVICE' {identity(environment)}")
        assert "KEY" not in USERS[user]
        assert f"ALTER USER {user} SET NETWORK_POLICY = GITHUB" in DDL
    [policy] = [s for s in DDL if s.startswith("CREATE NETWORK POLICY GITHUB")]
    assert " ALLOWED_NETWORK_RULE_LIST = (SNOWFLAKE.NETWORK_SECURITY.GITHUBACTIONS_GLOBAL) " in policy


def test_dashboards_sign_in_with_a_key_from_a_known_address() -> None:
    assert USERS["DASHBOARDS"].endswith("RSA_PUBLIC_KEY = 'public-key-of-dashboards' TYPE = 'SERVICE'")
    assert "ALTER USER DASHBOARDS SET NETWORK_POLICY = SERVERS" in DDL
    [policy] = [s for s in DDL if s.startswith("CREATE NETWORK POLICY SERVERS")]
    assert " ALLOWED_IP_LIST = ('203.0.113.10', '203.0.113.64/28') " in policy


def test_a_service_elsewhere_signs_in_with_a_key_and_the_second_key_replaces_it(dry_run: ModuleType) -> None:
    keys = {"ci_public_key": "old", "ci_public_key_2": "new", "pipeline_network_policy": "servers"}
    types = "--include-object-types=network_policy,role,user"
    ddl = dry_run.Deployment(
        dry_run.NewAccount(), types, "--apply-network-policy", f"--placeholder-values={json.dumps(keys)}"
    ).ddl
    flat = [" ".join(one.replace('"', "").split()) for one in ddl]
    [created] = [one for one in flat if one.startswith("CREATE USER CI")]
    assert "RSA_PUBLIC_KEY = 'old' RSA_PUBLIC_KEY_2 = 'new'" in created
    assert "ALTER USER CI SET NETWORK_POLICY = SERVERS" in flat
    assert [one for one in flat if "USER LOADER" in one and "KEY" in one] == []


def test_snowddl_signs_in_from_a_known_address_and_people_see_what_it_owns() -> None:
    bootstrap = statements("bootstrap.sql")
    assert "ALTER USER SNOWDDL SET NETWORK_POLICY = SNOWDDL" in bootstrap
    memberships = {(m["role"], m["member"]) for s in bootstrap if (m := MEMBERSHIP.fullmatch(s))}
    assert {("ACCOUNTADMIN", ADMIN), (ADMIN, "ADMINISTRATOR")} <= memberships


def test_each_warehouse_suspends_itself_and_has_a_monitor() -> None:
    warehouses = {s.split()[2]: s for s in DDL if s.startswith("CREATE WAREHOUSE")}
    assert set(warehouses) == {"BI", "CI", "TRANSFORM"}
    for name, statement in warehouses.items():
        (idle,) = re.findall(r"AUTO_SUSPEND = (\d+)", statement)
        (longest,) = re.findall(r"STATEMENT_TIMEOUT_IN_SECONDS = (\d+)", statement)
        assert int(idle) <= 120
        assert int(longest) <= 3600
        assert "AUTO_RESUME = TRUE" in statement
        assert f"ALTER WAREHOUSE {name} SET RESOURCE_MONITOR = {name}" in DDL
        (monitor,) = [s for s in DDL if s.startswith(f"CREATE RESOURCE MONITOR {name} ")]
        assert "DO SUSPEND" in monitor


def test_only_pii_readers_and_the_pipeline_see_what_is_masked() -> None:
    """tests/integration checks what a mask shows to a role."""
    [readers] = re.findall(r"^READERS = \((.*)\)$", (ROOT / "macros/privacy.py").read_text(), re.MULTILINE)
    people, pipeline = re.findall(r'"(\w+)"', readers)
    assert holders_of(people) == {"PII_READER"}
    assert holders_of(pipeline) == {"ENGINEER", "TRANSFORMER"}


def holders_of(role: str) -> set[str]:
    """The business roles that are, or inherit, a role."""
    return {one.removesuffix("__B_ROLE") for one in ROLES if one.endswith("__B_ROLE") and role in inherited(one)}


def test_quotas_follow_from_the_cadence_of_the_jobs() -> None:
    """benchmarks/cost.py has the formula: jobs a month, their duration, idle time and size of the warehouse."""
    workflow = (ROOT / ".github/workflows/run.yml").read_text()
    assert re.findall(r"cron: '(.*)'", workflow) == ["7 * * * *"], "hourly"
    (created,) = [s for s in DDL if s.startswith("CREATE WAREHOUSE TRANSFORM ")]
    assert "WAREHOUSE_SIZE = 'XSMALL'" in created
    assert f"AUTO_SUSPEND = {cost.IDLE_SECONDS} " in created
    assert "GENERATION = '1'" in created, "cost.CREDITS_PER_HOUR is of generation 1"
    assert "hourly" in created
    (monitor,) = [s for s in DDL if s.startswith("CREATE RESOURCE MONITOR TRANSFORM ")]
    assert f"CREDIT_QUOTA = {cost.quota(60)} " in monitor


DOCUMENTED_COLUMNS = {
    "QUERY_ATTRIBUTION_HISTORY": {
        "query_id",
        "parent_query_id",
        "root_query_id",
        "warehouse_id",
        "warehouse_name",
        "query_hash",
        "query_parameterized_hash",
        "query_tag",
        "user_name",
        "start_time",
        "end_time",
        "credits_attributed_compute",
        "credits_used_query_acceleration",
    },
    "QUERY_HISTORY": {"query_id", "query_text", "start_time"},
}
"""Of SNOWFLAKE.ACCOUNT_USAGE, as docs.snowflake.com describes them. Of the second, those that we need."""


def cost_view() -> exp.Create:
    """The statement that creates the cost view."""
    [text] = [s for s in (SNOWFLAKE / "new_account.sql").read_text().split(";\n") if '"COST"."DAILY_CREDITS"\n' in s]
    created = parse_one(text, dialect="snowflake")
    assert isinstance(created, exp.Create)
    return created


def test_the_cost_view_reads_documented_columns() -> None:
    query = cost_view().expression
    tables = {table.alias: table for table in query.find_all(exp.Table)}
    assert {f"{table.catalog}.{table.db}" for table in tables.values()} == {"SNOWFLAKE.ACCOUNT_USAGE"}
    read = {(tables[column.table].name, column.name) for column in query.find_all(exp.Column)}
    assert {name for name, _ in read} == set(DOCUMENTED_COLUMNS)
    assert [column for table, column in read if column not in DOCUMENTED_COLUMNS[table]] == []


def test_each_column_of_the_cost_view_is_described() -> None:
    created = cost_view()
    described = [column.name.lower() for column in created.this.expressions]
    assert described == [projection.alias_or_name for projection in created.expression.selects]


def test_people_who_read_the_cost_view_read_no_text_of_a_statement() -> None:
    assert holders("SELECT ON VIEWS IN SCHEMA ANALYTICS.COST") == {"CI", "DATA_TEAM", "ENGINEER", "TRANSFORMER"}
    assert not {"query_text", "user_name"} & {projection.alias_or_name for projection in cost_view().expression.selects}
    assert [s for s in DDL if "IMPORTED PRIVILEGES" in s or "GRANT DATABASE ROLE" in s] == []


def test_the_runbook_on_cost_names_the_columns_of_the_view_and_its_statements_are_valid() -> None:
    page = (ROOT / "docs/runbooks/cost.md").read_text()
    columns = {projection.alias_or_name for projection in cost_view().expression.selects}
    queries = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    read = [parse_one(q, dialect="snowflake") for text in queries for q in text.split(";") if "DAILY_CREDITS" in q]
    assert len(read) >= 2
    for query in read:
        aliases = {projection.alias for projection in query.find_all(exp.Alias)}
        assert {column.name for column in query.find_all(exp.Column)} <= columns | aliases


def test_the_runbook_names_whom_each_monitor_notifies() -> None:
    runbook = (ROOT / "docs/runbooks/snowflake-account.md").read_text()
    monitors = {s.split()[3] for s in DDL if s.startswith("CREATE RESOURCE MONITOR")}
    notified = set(re.findall(r"^ALTER RESOURCE MONITOR (\w+) SET NOTIFY_USERS = ", runbook, re.MULTILINE))
    assert notified == monitors


def test_the_budget_exceeds_the_quotas_of_the_monitors() -> None:
    """A lower one would notify in every month in which no monitor does."""
    quotas = [int(quota) for s in DDL for quota in re.findall(r"CREDIT_QUOTA = (\d+)", s)]
    [limit] = re.findall(r"SET_SPENDING_LIMIT\((\d+)\)", (ROOT / "docs/runbooks/cost.md").read_text())
    assert len(quotas) == 3
    assert int(limit) > sum(quotas)
