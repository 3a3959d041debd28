"""Logins by workload identity: the login requests of SQLMesh and the loader, with tokens of an issuer on loopback.

The emulator checks a token as Snowflake's documents describe it: signature, issuer, audience, expiry, and the subject
of the user in infra/snowflake/new_account.sql. That Snowflake does the same has not been seen.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from emulated import Keys, Snowflake
from identity import Issuer
from sources import SourceDatabase, new_state
from workspace import Workspace

from meshflow.snowflake import login, workload_identity
from meshflow.source.server import Server


@pytest.fixture
def issuer(keys: Keys) -> Iterator[Issuer]:
    with Issuer(keys).serving() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def workspace(
    project: Path, postgres: Server, snowflake: Snowflake, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    return Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))


def run(
    workspace: Workspace, sources: SourceDatabase, issuer: Issuer, environment: str, *command: str, user: str
) -> tuple[int, str]:
    """Exit status and output of a command in a job of GitHub's `environment`. No key is set."""
    variables = os.environ | workspace.environment | sources.environment | issuer.admit(environment)
    variables |= {"MESHFLOW_SNOWFLAKE_USER": user, "MESHFLOW_SNOWFLAKE_LOADER_USER": user}
    variables |= {"MESHFLOW_SNOWFLAKE_ROLE": f"{user}__U_ROLE"}
    # The connector sends identities to Snowflake's own hosts only.
    variables |= {"SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES": "localhost"}
    for name in ("MESHFLOW_SNOWFLAKE_PRIVATE_KEY", "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY"):
        del variables[name]
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        cwd=workspace.path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    for secret in (*issuer.issued, variables["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]):
        assert secret not in done.stdout
    return done.returncode, done.stdout


def info(workspace: Workspace, sources: SourceDatabase, issuer: Issuer, environment: str, user: str) -> str:
    """The output of a process that opens the project as the jobs' commands do, and signs in; on one line."""
    program = (
        "from meshflow.project import open_project as o; print(o('snowflake', load=False).fetchdf('SELECT 1 AS A'))"
    )
    return " ".join(run(workspace, sources, issuer, environment, "python", "-c", program, user=user)[1].split())


@pytest.mark.parametrize(("environment", "user"), [("snowflake-ci", "CI"), ("snowflake-prod", "TRANSFORMER")])
def test_sqlmesh_signs_in_as_the_user_of_the_jobs_environment(
    environment: str, user: str, workspace: Workspace, sources: SourceDatabase, snowflake: Snowflake, issuer: Issuer
) -> None:
    assert info(workspace, sources, issuer, environment, user).endswith("A 0 1")
    assert snowflake.logins(user)[-1]["authenticator"] == "WORKLOAD_IDENTITY"


@pytest.mark.parametrize("environment", ["snowflake-ci", "snowflake-load"])
def test_a_job_of_another_environment_is_not_prod(
    environment: str, workspace: Workspace, sources: SourceDatabase, snowflake: Snowflake, issuer: Issuer
) -> None:
    before = len(snowflake.logins("TRANSFORMER"))
    output = info(workspace, sources, issuer, environment, "TRANSFORMER")
    assert f":environment:{environment} isn't TRANSFORMER's" in output
    assert len(snowflake.logins("TRANSFORMER")) == before


def test_a_load_signs_in_once_with_a_token(
    workspace: Workspace, sources: SourceDatabase, snowflake: Snowflake, issuer: Issuer
) -> None:
    command = ("meshflow", "load", "--gateway", "snowflake", "--json")
    status, output = run(workspace, sources, issuer, "snowflake-load", *command, user="LOADER")
    assert status == 0, output
    assert [login["token_id"] for login in snowflake.logins("LOADER")] == ["token-1"]


def test_an_expired_token_is_rejected(
    workspace: Workspace, sources: SourceDatabase, snowflake: Snowflake, issuer: Issuer
) -> None:
    issuer.lifetime = -60
    assert "Signature has expired" in info(workspace, sources, issuer, "snowflake-ci", "CI")


def test_a_token_is_requested_again_after_an_error_of_the_issuer(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in issuer.admit("snowflake-ci").items():
        monkeypatch.setenv(name, value)
    issuer.failures = [503, 500]
    assert workload_identity() == {
        "authenticator": "WORKLOAD_IDENTITY",
        "workload_identity_provider": "OIDC",
        "token": issuer.issued[0],
    }


def test_a_load_names_the_status_if_github_issues_no_token(
    workspace: Workspace, sources: SourceDatabase, snowflake: Snowflake, issuer: Issuer
) -> None:
    issuer.failures = [403] * 9
    command = ("meshflow", "load", "--gateway", "snowflake", "--json")
    status, output = run(workspace, sources, issuer, "snowflake-load", *command, user="LOADER")
    assert status == 1
    assert "GitHub issued no token for the login to Snowflake (403)" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("credential", ["PRIVATE_KEY", "TOKEN"])
def test_a_key_or_an_oauth_token_comes_first(
    credential: str, issuer: Issuer, snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in issuer.admit("snowflake-load").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY")
    monkeypatch.setenv(f"MESHFLOW_SNOWFLAKE_LOADER_{credential}", "mine")
    loader = login("LOADER", warehouse="TRANSFORM", keyless=True)
    assert "mine" in {loader.private_key, loader.token}


def test_dashboards_are_no_job_and_need_a_key(
    issuer: Issuer, snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (issuer.admit("snowflake-prod") | {"MESHFLOW_SNOWFLAKE_DASHBOARDS_USER": "DASHBOARDS"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(click.ClickException, match="needs MESHFLOW_SNOWFLAKE_DASHBOARDS_PRIVATE_KEY"):
        login("DASHBOARDS", warehouse="BI")
