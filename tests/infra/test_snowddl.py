"""Privileges on Snowflake, read from the DDL that SnowDDL generates from infra/snowflake/config/.

No Snowflake runs here: the tests assume that Snowflake enforces its grants.
"""

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

import pytest

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
    """All privileges of a role, except OPERATE: to resume and suspend its warehouse."""
    return {str(grant) for grant in GRANTS if grant.role in inherited(role) and grant.privilege != "OPERATE"}


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
    account.write_text(example.replace("ci_public_key: public-key-of-ci\n", ""))
    result = validate(account)
    assert result.returncode == 1
    assert "Unknown placeholder [CI_PUBLIC_KEY]" in result.stderr


def test_a_new_account_gets_the_committed_ddl(dry_run: ModuleType) -> None:
    committed = (SNOWFLAKE / "new_account.sql").read_text().splitlines()
    diff = "\n".join(unified_diff(committed, dry_run.new_account().splitlines(), "committed", "generated", lineterm=""))
    assert not diff, f"infra/snowflake/new_account.sql differs from config/: run dry_run.py and review it\n{diff}"


def test_the_runbook_deploys_as_the_dry_run_does(dry_run: ModuleType) -> None:
    runbook = (ROOT / "docs/runbooks/snowflake-account.md").read_text()
    first, second = re.findall(r"^snowddl (.* apply)$", runbook, re.MULTILINE)
    assert first.replace(" database", "=database").split() == [
        dry_run.POLICIES[0],
        "--apply-unsafe",
        "--apply-masking-policy",
        "apply",
    ]
    assert set(dry_run.ROLES_AND_USERS[1:]) <= set(second.split())


def test_every_grant_is_parsed() -> None:
    grants = [s for s in DDL if s.startswith("GRANT")]
    assert [s for s in grants if not GRANT.fullmatch(s) and not MEMBERSHIP.fullmatch(s)] == []
    assert len(GRANTS) > 100


def test_a_statement_names_only_objects_created_before_it() -> None:
    created = {("ROLE", "ACCOUNTADMIN"), ("SCHEMA", "ANALYTICS.PUBLIC"), ("SCHEMA", "RAW.PUBLIC")}
    kinds = r"DATABASE|SCHEMA|WAREHOUSE|RESOURCE MONITOR|MASKING POLICY|NETWORK POLICY|ROLE|USER"
    for statement in statements("bootstrap.sql") + DDL:
        code = re.sub(r"'[^']*'", "", statement.replace("_MONITOR = ", " MONITOR ").replace("_POLICY = ", " POLICY "))
        create = re.match(rf"CREATE (?P<kind>{kinds}) (?P<name>[\w.]+)", code)
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


def test_an_analyst_reads_marts_and_history_and_nothing_else() -> None:
    assert reach("ANALYST__B_ROLE") == reading(*MARTS, "HISTORY") | using("BI")


def test_dashboards_read_marts_and_ops_and_nothing_else() -> None:
    assert reach("DASHBOARDS__U_ROLE") == reading(*MARTS, "OPS") | using("BI")


def test_the_data_team_reads_rejected_rows_and_ops_and_nothing_else() -> None:
    assert reach("DATA_TEAM__B_ROLE") == reading("OPS", "QUARANTINE") | using("BI")


def test_a_pii_reader_reads_identifiers_and_nothing_else() -> None:
    assert reach("PII_READER__B_ROLE") == reading("PII") | using("BI")


def test_only_pii_readers_and_the_pipeline_read_identifiers() -> None:
    assert holders("SELECT ON VIEWS IN SCHEMA ANALYTICS.PII") == {"CI", "ENGINEER", "PII_READER", "TRANSFORMER"}


def test_the_loader_reaches_raw_and_nothing_else() -> None:
    assert reach("LOADER__U_ROLE") == using("LOAD") | {
        "USAGE ON DATABASE RAW",
        "CREATE SCHEMA ON DATABASE RAW",
        "OWNERSHIP ON SCHEMAS IN DATABASE RAW",
    }


def test_ci_writes_neither_a_schema_of_prod_nor_raw() -> None:
    writes = {privilege for privilege in reach("CI__U_ROLE") if not privilege.startswith(("SELECT ", "USAGE "))}
    assert writes == {
        "CREATE SCHEMA ON DATABASE ANALYTICS",
        "APPLY ON MASKING POLICY ANALYTICS.GOVERNANCE.MASK_DATE",
        "APPLY ON MASKING POLICY ANALYTICS.GOVERNANCE.MASK_TEXT",
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
        "ANALYTICS.GOVERNANCE",
        *(f"ANALYTICS.{name.upper()}" for name in physical),
        *(f"ANALYTICS.{name}" for name in physical.values()),
    }


def test_services_sign_in_with_a_key_from_a_known_address() -> None:
    assert set(USERS) == {"CI", "DASHBOARDS", "LOADER", "TRANSFORMER"}
    for user, statement in USERS.items():
        assert "TYPE = 'SERVICE'" in statement
        assert f"RSA_PUBLIC_KEY = 'public-key-of-{user.lower()}'" in statement
        assert "PASSWORD" not in statement
        assert [s for s in DDL if s.startswith(f"ALTER USER {user} SET NETWORK_POLICY")]


def test_each_job_has_a_warehouse_that_suspends_itself() -> None:
    warehouses = {s.split()[2]: s for s in DDL if s.startswith("CREATE WAREHOUSE")}
    assert set(warehouses) == {"BI", "CI", "LOAD", "TRANSFORM"}
    for name, statement in warehouses.items():
        (idle,) = re.findall(r"AUTO_SUSPEND = (\d+)", statement)
        (longest,) = re.findall(r"STATEMENT_TIMEOUT_IN_SECONDS = (\d+)", statement)
        assert int(idle) <= 120
        assert int(longest) <= 3600
        assert "AUTO_RESUME = TRUE" in statement
        assert f"ALTER WAREHOUSE {name} SET RESOURCE_MONITOR = {name}" in DDL
        (monitor,) = [s for s in DDL if s.startswith(f"CREATE RESOURCE MONITOR {name} ")]
        assert "DO SUSPEND" in monitor


@pytest.mark.parametrize("policy", ["MASK_DATE", "MASK_TEXT"])
def test_only_pii_readers_see_what_is_masked(policy: str) -> None:
    (statement,) = [s for s in DDL if s.startswith(f"CREATE MASKING POLICY ANALYTICS.GOVERNANCE.{policy} ")]
    body = statement.partition(" -> ")[2].partition(" COMMENT = ")[0]
    shown = re.findall(r"WHEN (.*?) THEN value\b", body)
    assert shown == ["IS_ROLE_IN_SESSION('PII_READER__B_ROLE')"]
    assert "ELSE" not in body
    assert {member for role, member in MEMBERSHIPS if role == "PII_READER__B_ROLE"} == {ADMIN}


def test_every_column_that_is_documented_as_masked_is_masked() -> None:
    documented = masked = 0
    for model in sorted((ROOT / "models").rglob("*.sql")):
        text = model.read_text()
        columns = set(re.findall(r"AS (\w+),? /\*[^*]*masked on Snowflake", text))
        masks = dict(re.findall(r"^@mask\((\w+), ([\w, ]+)\);$", text, re.MULTILINE))
        assert columns <= {column for list_ in masks.values() for column in list_.split(", ")}, model
        assert set(masks) <= {"mask_date", "mask_text"}, model
        documented += len(columns)
        masked += len(masks)
    assert documented
    assert masked
    identifiers = (ROOT / "models/pii/student.sql").read_text()
    assert "@mask(mask_text, first_name, last_name, email);\n@mask(mask_date, date_of_birth);" in identifiers
