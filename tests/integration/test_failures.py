"""Failures on the way to Snowflake: the messages that users read, and how the next plan or load recovers."""

import errno
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import load
from emulated import Snowflake, pem, private_key
from sources import SourceDatabase, new_state
from workspace import Workspace, plan

from meshflow.loading.contract import contract, source_tables
from meshflow.loading.destination import Destination
from meshflow.loading.load import session
from meshflow.loading.report import JsonReporter
from meshflow.source.server import Server

TOKEN = "an-access-token"
PASSPHRASE = "a passphrase"
EXPIRED = {"login": True, "code": "390318", "message": "OAuth access token expired."}
SUSPENDED = {"code": "090073", "state": "57014", "message": "The warehouse 'TRANSFORM' was suspended."}
NO_WAREHOUSE = {"code": "000606", "state": "57P03", "message": "No active warehouse selected in the current session."}

KEYS = {
    "no key": {"PRIVATE_KEY": ""},
    "no PEM": {"PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----"},
    "no base64": {"PRIVATE_KEY": "nonsense!"},
    "another passphrase": {"PRIVATE_KEY": pem(private_key(), "secret"), "PRIVATE_KEY_PASSPHRASE": PASSPHRASE},
    "no passphrase": {"PRIVATE_KEY": pem(private_key(), PASSPHRASE)},
}
"""Variables of a key that can't be read. Their names follow MESHFLOW_SNOWFLAKE_ or MESHFLOW_SNOWFLAKE_LOADER_."""

ANOTHER_KEY = pem(private_key())


@pytest.fixture(scope="module")
def workspace(
    project: Path, postgres: Server, snowflake: Snowflake, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    return Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))


@pytest.fixture(autouse=True)
def no_faults_remain(snowflake: Snowflake) -> Iterator[None]:
    yield
    snowflake.fail()


def run(workspace: Workspace, sources: SourceDatabase, *command: str, **variables: str) -> tuple[int, str]:
    """The exit status and the output of a command, which must not print a secret."""
    environment = os.environ | workspace.environment | sources.environment
    environment |= {f"MESHFLOW_SNOWFLAKE_{name}": value for name, value in variables.items()}
    program = Path(sys.executable).with_name(command[0])
    result = subprocess.run(
        [program, *command[1:]],
        cwd=workspace.path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    output = result.stdout + result.stderr
    for name, value in environment.items():
        if re.search("KEY|TOKEN|PASSPHRASE|PASSWORD", name) and name.startswith("MESHFLOW_") and len(value) > 6:
            for line in value.splitlines():
                assert line.startswith("-----") or line not in output, f"the output contains {name}"
    return result.returncode, output


def failed_load(workspace: Workspace, sources: SourceDatabase, **variables: str) -> str:
    """The one line that `meshflow load` prints when it fails."""
    status, output = run(
        workspace,
        sources,
        *("meshflow", "load", "--gateway", "snowflake"),
        **{name if name == "ACCOUNT" else f"LOADER_{name}": value for name, value in variables.items()},
    )
    assert status == 1, output
    [line] = output.splitlines()
    assert line.startswith("Error: ")
    return line


def failed_plan(workspace: Workspace, sources: SourceDatabase, environment: str = "dev", **variables: str) -> str:
    """The output of `sqlmesh plan` when it fails."""
    status, output = run(
        workspace,
        sources,
        *("sqlmesh", "--gateway", "snowflake", "plan", environment, "--auto-apply", "--skip-tests"),
        **variables,
    )
    assert status == 1, output
    return output


@pytest.mark.parametrize("case", KEYS)
def test_a_load_names_the_variable_of_a_key_that_cannot_be_read(
    case: str, workspace: Workspace, sources: SourceDatabase
) -> None:
    assert "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY" in failed_load(workspace, sources, **KEYS[case])


@pytest.mark.parametrize(
    ("variables", "fault", "message"),
    [
        ({"PRIVATE_KEY": ANOTHER_KEY}, {}, "JWT token is invalid. Check MESHFLOW_SNOWFLAKE_ACCOUNT"),
        ({"USER": "NOBODY"}, {}, "JWT token is invalid. Check MESHFLOW_SNOWFLAKE_ACCOUNT"),
        ({"ACCOUNT": "nobody"}, {}, "404 Not Found"),
        ({"TOKEN": TOKEN}, EXPIRED, "OAuth access token expired. Check MESHFLOW_SNOWFLAKE_ACCOUNT"),
        ({}, {"statement": "CREATE", **SUSPENDED}, "The warehouse 'TRANSFORM' was suspended"),
        ({}, {"statement": "CREATE", **NO_WAREHOUSE}, "No active warehouse selected"),
        ({}, {"statement": "CREATE"}, "IncompleteRead"),
    ],
    ids=["another key", "another user", "another account", "expired token", "suspended", "no warehouse", "lost"],
)
def test_a_load_that_snowflake_rejects_fails_with_one_line(
    variables: dict[str, str],
    fault: dict[str, Any],
    message: str,
    workspace: Workspace,
    sources: SourceDatabase,
    snowflake: Snowflake,
) -> None:
    snowflake.fail(*[fault] * bool(fault))
    assert message in failed_load(workspace, sources, **variables)


def staged_files(snowflake: Snowflake) -> list[str]:
    """The files in the stages of RAW: those of tables and those with a name."""
    tables = snowflake.query(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM RAW.INFORMATION_SCHEMA.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
    )
    stages = [f'RAW.{schema}."%{table}"' for schema, table in tables]
    stages += [f"RAW.{row[3]}.{row[1]}" for row in snowflake.query("SHOW STAGES IN DATABASE RAW")]
    return [row[0] for stage in stages for row in snowflake.query(f"LIST @{stage}")]


def leave_files(sources: SourceDatabase, snowflake: Snowflake, data: Path) -> None:
    """Load until a statement loses its connection and another one doesn't remove the files, as if it were killed."""
    snowflake.fail({"statement": "COPY INTO .*ENROLLMENTS"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Destination, "remove_files", lambda *_: None)
        with pytest.raises(click.ClickException, match=r"edtech\.enrollments can't be written to RAW"):
            load(sources, data)
    assert staged_files(snowflake)


def test_a_load_removes_its_files(sources: SourceDatabase, snowflake: Snowflake, data: Path) -> None:
    snowflake.fail({"statement": "COPY INTO .*ENROLLMENTS"})
    with pytest.raises(click.ClickException, match=r"edtech\.enrollments can't be written to RAW"):
        load(sources, data)
    assert staged_files(snowflake) == [], "after a failure"
    load(sources, data)
    assert staged_files(snowflake) == []
    sent = snowflake.statements("LOADER")
    assert any(statement.startswith("PUT ") for statement in sent)


def test_the_next_load_finishes_one_that_lost_its_connection_and_removes_its_files(
    sources: SourceDatabase, snowflake: Snowflake, data: Path
) -> None:
    sources.execute("UPDATE edtech.enrollments SET student_id = student_id")
    leave_files(sources, snowflake, data)
    load(sources, data)
    assert staged_files(snowflake) == []
    for table in source_tables(contract()):
        key = ", ".join(table.key)
        in_raw = snowflake.query(f"SELECT {key} FROM RAW.{table} ORDER BY {key}")
        assert in_raw == sources.execute(f"SELECT {key} FROM {table} ORDER BY {key}")


def test_a_load_that_does_not_reach_the_source_removes_no_files(
    sources: SourceDatabase, snowflake: Snowflake, data: Path
) -> None:
    """It has no lock, so they may be those of a load that is running."""
    sources.execute("UPDATE edtech.enrollments SET student_id = student_id")
    leave_files(sources, snowflake, data)
    unreachable = session("postgresql://a:p@127.0.0.1:1/c", "snowflake", data, 0, JsonReporter())
    with pytest.raises(click.ClickException, match=os.strerror(errno.ECONNREFUSED)), unreachable:
        pass
    assert staged_files(snowflake)
    assert snowflake.query("SELECT COUNT(*) FROM RAW.LOADER.LOADS WHERE STATUS = 'failed'") != [(0,)]
    load(sources, data)


def test_a_plan_names_a_missing_key(workspace: Workspace, sources: SourceDatabase) -> None:
    output = failed_plan(workspace, sources, **KEYS["no key"])
    assert "Traceback" not in output
    assert "Invalid field 'MESHFLOW_SNOWFLAKE_PRIVATE_KEY'" in output


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no PEM", "Could not deserialize key data"),
        ("no base64", "Could not deserialize key data"),
        ("another passphrase", "Incorrect password, could not decrypt key"),
    ],
)
def test_a_plan_reports_what_is_wrong_with_a_key(
    case: str, message: str, workspace: Workspace, sources: SourceDatabase
) -> None:
    output = failed_plan(workspace, sources, **KEYS[case])
    assert "Traceback" not in output
    assert f"Invalid 'snowflake' connection config: Value error, {message}" in " ".join(output.split())


@pytest.mark.parametrize(
    ("variables", "faults", "message"),
    [
        ({"PRIVATE_KEY": ANOTHER_KEY}, [], "JWT token is invalid."),
        ({"ACCOUNT": "nobody"}, [], "404 Not Found"),
        ({"TOKEN": TOKEN}, [EXPIRED] * 20, "OAuth access token expired."),
    ],
    ids=["another key", "another account", "expired token"],
)
def test_a_plan_whose_login_fails_ends_with_the_reason_and_info_prints_the_reason_alone(
    variables: dict[str, str],
    faults: list[dict[str, Any]],
    message: str,
    workspace: Workspace,
    sources: SourceDatabase,
    snowflake: Snowflake,
) -> None:
    snowflake.fail(*faults)
    # The signal `source_loaded` calls Snowflake first. SQLMesh prints an error of a signal with its traceback.
    assert message in failed_plan(workspace, sources, **variables).partition("snowflake.connector.errors.")[2]
    snowflake.fail(*faults)
    _, output = run(workspace, sources, "sqlmesh", "--gateway", "snowflake", "info", **variables)
    [line] = re.findall(r"Data warehouse connection failed\. (.*?) State backend", " ".join(output.split()))
    assert message in line


def test_a_plan_that_loses_its_connection_leaves_prod_as_it_was_and_the_next_finishes_it(
    workspace: Workspace, sources: SourceDatabase, snowflake: Snowflake, data: Path
) -> None:
    load(sources, data, at=datetime.now(UTC))
    plan(workspace.context("snowflake"), "prod")
    undisturbed, served, start = figures(snowflake), snowflake.definitions(), len(snowflake.statements())
    # Another query with the same figures: the plan rebuilds all tables that depend on it.
    swapped = ("quantity * unit_price_amount::DECIMAL(19, 2)", "unit_price_amount::DECIMAL(19, 2) * quantity")
    workspace.edit("models/intermediate/int_retail__sales_validated.sql", *swapped)
    for fault, message in (
        ({"statement": f"CREATE OR REPLACE TABLE .*{LOST}__"}, "IncompleteRead"),
        ({"statement": f"CREATE OR REPLACE VIEW .*{STOPPED}__", **SUSPENDED}, SUSPENDED["message"]),
    ):
        snowflake.fail(fault)
        output = failed_plan(workspace, sources, "prod")
        assert message in " ".join(output.split())
        assert snowflake.definitions() == served
        assert figures(snowflake) == undisturbed
    plan(workspace.context("snowflake"), "prod")
    assert snowflake.definitions()["RETAIL.FCT_SALES"] != served["RETAIL.FCT_SALES"]
    assert figures(snowflake) == undisturbed
    built = Counter(BUILT.findall("\n".join(snowflake.statements()[start:])))
    assert len(built) > 5, built
    assert {table for table, times in built.items() if times > 1} == {LOST, STOPPED}, built
    assert built[LOST] == built[STOPPED] == 2


LOST, STOPPED = "INTERMEDIATE__INT_RETAIL__SALES_AGGREGATED", "RETAIL__RPT_NET_REVENUE_BY_CITY"
"""Downstream of the changed table: a table at which a plan loses its connection, a view at which its warehouse."""

BUILT = re.compile(r'CREATE OR REPLACE (?:TABLE|VIEW) "\w+"\."SQLMESH_\w+"\."(\w+?)__\d+" ')


def figures(snowflake: Snowflake) -> list[tuple[Any, ...]]:
    """Counts and sums of the tables downstream of the changed query."""
    tables = ("FCT_SALES", "RPT_REVENUE_DAILY", "RPT_NET_REVENUE_BY_CITY", "RPT_NET_REVENUE_BY_COUNTRY")
    sums = (f"SELECT '{table}', COUNT(*), SUM(NET_REVENUE_AMOUNT) FROM ANALYTICS.RETAIL.{table}" for table in tables)
    return snowflake.query(f"{' UNION ALL '.join(sums)} ORDER BY 1")


def test_a_load_that_has_lost_its_lock_leaves_the_files_of_others(
    sources: SourceDatabase, snowflake: Snowflake, data: Path
) -> None:
    """Another load may have the lock, and its COPY would find no file and no error."""
    load(sources, data)
    sources.execute("UPDATE edtech.enrollments SET student_id = student_id")
    removed = "REMOVE @RAW.LOADER.FILES"
    with snowflake.sent("LOADER") as statements:
        load(sources, data)
    [at_start, at_end] = [one for one in statements if one.startswith(removed)]
    assert at_start == removed
    assert re.fullmatch(rf"{removed}/\w{{32}}", at_end)
    uploads = (re.match(r"PUT '.*' '@RAW.LOADER.FILES/(\w{32})/", statement) for statement in statements)
    assert {upload[1] for upload in uploads if upload} == {at_end.rpartition("/")[2]}
