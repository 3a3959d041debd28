"""What goes wrong on the way to Snowflake: what people read, and what the next plan or load makes of it."""

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
from sources import Sources, new_state
from workspace import Workspace, plan

from meshflow.loading.contract import contract, source_tables
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
"""Variables of a key that doesn't open, after MESHFLOW_SNOWFLAKE_ or MESHFLOW_SNOWFLAKE_LOADER_."""

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


def run(workspace: Workspace, sources: Sources, *command: str, **variables: str) -> tuple[int, str]:
    """The exit status of a command, and what it prints."""
    environment = os.environ | workspace.environment | sources.environment
    environment |= {f"MESHFLOW_SNOWFLAKE_{name}": value for name, value in variables.items()}
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [program, *command[1:]],
        cwd=workspace.path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    output = done.stdout + done.stderr
    for name, value in environment.items():
        if re.search("KEY|TOKEN|PASSPHRASE|PASSWORD", name) and name.startswith("MESHFLOW_") and len(value) > 6:
            for line in value.splitlines():
                assert line.startswith("-----") or line not in output, f"{name} is told"
    return done.returncode, output


def loads_not(workspace: Workspace, sources: Sources, **variables: str) -> str:
    """The one line that `meshflow load` prints."""
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


def plans_not(workspace: Workspace, sources: Sources, environment: str = "dev", **variables: str) -> str:
    """What `sqlmesh plan` prints."""
    status, output = run(
        workspace,
        sources,
        *("sqlmesh", "--gateway", "snowflake", "plan", environment, "--auto-apply", "--skip-tests"),
        **variables,
    )
    assert status == 1, output
    return output


@pytest.mark.parametrize("case", KEYS)
def test_a_load_names_the_variable_of_a_key_that_does_not_open(
    case: str, workspace: Workspace, sources: Sources
) -> None:
    assert "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY" in loads_not(workspace, sources, **KEYS[case])


@pytest.mark.parametrize(
    ("variables", "fault", "said"),
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
def test_a_load_that_snowflake_rejects_says_so_in_one_line(
    variables: dict[str, str],
    fault: dict[str, Any],
    said: str,
    workspace: Workspace,
    sources: Sources,
    snowflake: Snowflake,
) -> None:
    snowflake.fail(*[fault] * bool(fault))
    assert said in loads_not(workspace, sources, **variables)


def test_a_load_that_loses_snowflake_is_finished_by_the_next(
    sources: Sources, snowflake: Snowflake, data: Path
) -> None:
    snowflake.fail({"statement": "COPY INTO .*ENROLLMENTS"})
    with pytest.raises(click.ClickException, match=r"edtech\.enrollments can't be written to RAW"):
        load(sources, data)
    load(sources, data)
    for table in source_tables(contract()):
        key = ", ".join(table.key)
        there = snowflake.query(f"SELECT {key} FROM RAW.{table} ORDER BY {key}")
        assert there == sources.execute(f"SELECT {key} FROM {table} ORDER BY {key}")


def test_a_plan_names_a_missing_key(workspace: Workspace, sources: Sources) -> None:
    output = plans_not(workspace, sources, **KEYS["no key"])
    assert "Traceback" not in output
    assert "Invalid field 'MESHFLOW_SNOWFLAKE_PRIVATE_KEY'" in output


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no PEM", "Could not deserialize key data"),
        ("no base64", "Could not deserialize key data"),
        ("another passphrase", "Incorrect password, could not decrypt key"),
    ],
)
def test_a_plan_says_what_is_wrong_with_a_key(case: str, said: str, workspace: Workspace, sources: Sources) -> None:
    output = plans_not(workspace, sources, **KEYS[case])
    assert "Traceback" not in output
    assert f"Invalid 'snowflake' connection config: Value error, {said}" in " ".join(output.split())


@pytest.mark.parametrize(
    ("variables", "faults", "said"),
    [
        ({"PRIVATE_KEY": ANOTHER_KEY}, [], "JWT token is invalid."),
        ({"ACCOUNT": "nobody"}, [], "404 Not Found"),
        ({"TOKEN": TOKEN}, [EXPIRED] * 20, "OAuth access token expired."),
    ],
    ids=["another key", "another account", "expired token"],
)
def test_a_plan_that_is_not_let_in_ends_with_the_reason_and_info_tells_it_alone(
    variables: dict[str, str],
    faults: list[dict[str, Any]],
    said: str,
    workspace: Workspace,
    sources: Sources,
    snowflake: Snowflake,
) -> None:
    snowflake.fail(*faults)
    # The first to call Snowflake is the signal `source_loaded`, and SQLMesh prints what a signal raises with its traceback.
    assert said in plans_not(workspace, sources, **variables).partition("snowflake.connector.errors.")[2]
    snowflake.fail(*faults)
    _, output = run(workspace, sources, "sqlmesh", "--gateway", "snowflake", "info", **variables)
    [line] = re.findall(r"Data warehouse connection failed\. (.*?) State backend", " ".join(output.split()))
    assert said in line


def test_a_plan_that_loses_snowflake_leaves_prod_as_it_was_and_the_next_finishes_the_job(
    workspace: Workspace, sources: Sources, snowflake: Snowflake, data: Path
) -> None:
    load(sources, data, at=datetime.now(UTC))
    plan(workspace.context("snowflake"), "prod")
    undisturbed, served, start = figures(snowflake), snowflake.definitions(), len(snowflake.statements())
    # The same figures from another query: all that depends on it is built anew.
    swapped = ("quantity * unit_price_amount::DECIMAL(19, 2)", "unit_price_amount::DECIMAL(19, 2) * quantity")
    workspace.edit("models/intermediate/int_retail__sales_priced.sql", *swapped)
    for fault, said in (
        ({"statement": f"CREATE OR REPLACE TABLE .*{LOST}__"}, "IncompleteRead"),
        ({"statement": f"CREATE OR REPLACE TABLE .*{STOPPED}__", **SUSPENDED}, SUSPENDED["message"]),
    ):
        snowflake.fail(fault)
        output = plans_not(workspace, sources, "prod")
        assert said in " ".join(output.split())
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
"""Tables that depend on the changed one, directly and from far, at which a plan loses its connection or warehouse."""

BUILT = re.compile(r'CREATE OR REPLACE TABLE "\w+"\."\w+"\."(\w+?)__\d+" ')


def figures(snowflake: Snowflake) -> list[tuple[Any, ...]]:
    """Count and sum of all that the changed query leads to."""
    tables = ("FCT_SALES", "RPT_REVENUE_DAILY", "RPT_NET_REVENUE_BY_CITY", "RPT_NET_REVENUE_BY_COUNTRY")
    sums = (f"SELECT '{table}', COUNT(*), SUM(NET_REVENUE_AMOUNT) FROM ANALYTICS.RETAIL.{table}" for table in tables)
    return snowflake.query(f"{' UNION ALL '.join(sums)} ORDER BY 1")
