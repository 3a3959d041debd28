"""Tests of docs/runbooks/state.md: a lost SQLMesh state is restored, and a bad promotion is reverted."""

import os
import re
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from conftest import load, write
from emulated import Snowflake
from psycopg import sql
from sources import SourceDatabase
from workspace import Workspace, plan, run, table_writes, writes

from meshflow.source.server import Server


def sqlmesh(workspace: Workspace, *command: str) -> None:
    program = Path(sys.executable).with_name("sqlmesh")
    environment = os.environ | workspace.environment
    subprocess.run([program, "--gateway", "snowflake", *command], cwd=workspace.path, env=environment, check=True)


def drop_and_create(postgres: Server, database: str) -> None:
    name = sql.Identifier(database)
    with closing(psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER sqlmesh").format(name))


def test_a_lost_state_is_restored_from_its_export(
    workspace: Workspace, snowflake: Snowflake, postgres: Server, tmp_path: Path
) -> None:
    before, export = snowflake.definitions(), tmp_path / "state.json"
    sqlmesh(workspace, "state", "export", "--output-file", str(export), "--no-confirm")
    drop_and_create(postgres, workspace.state["MESHFLOW_STATE_DATABASE"])
    sqlmesh(workspace, "state", "import", "--input-file", str(export), "--replace", "--no-confirm")
    context = workspace.context("snowflake")
    assert not context.plan_builder("prod", skip_tests=True).build().has_changes
    with snowflake.sent() as statements:
        plan(context, "prod")
    assert writes(statements) == []
    assert snowflake.definitions() == before


def test_a_run_continues_from_the_exported_state(
    workspace: Workspace, snowflake: Snowflake, sources: SourceDatabase, data: Path
) -> None:
    [(rows,)] = snowflake.query("SELECT COUNT(*) FROM ANALYTICS.RETAIL.FCT_SALES")
    write(sources, seed=7)
    load(sources, data, at=datetime.now(UTC) + timedelta(minutes=90))
    load(sources, data, at=datetime.now(UTC) + timedelta(hours=3))
    with snowflake.sent() as statements:
        run(workspace.context("snowflake"), at=datetime.now(UTC) + timedelta(hours=3))
    assert [one for one in statements if re.match(r"INSERT INTO \S+INT_RETAIL__SALES_VALIDATED__", one)]
    replaced = r"CREATE OR REPLACE (TRANSIENT )?TABLE \S+INT_RETAIL__SALES_VALIDATED__"
    assert not [one for one in statements if re.match(replaced, one)]
    [(more,)] = snowflake.query("SELECT COUNT(*) FROM ANALYTICS.RETAIL.FCT_SALES")
    assert more > rows


def test_a_bad_promotion_is_reverted_by_planning_the_previous_models(
    workspace: Workspace, snowflake: Snowflake
) -> None:
    mart = workspace.path / "models/retail/dim_product.sql"
    names = "SELECT PRODUCT_ID, PRODUCT_NAME FROM ANALYTICS.RETAIL.DIM_PRODUCT ORDER BY 1"
    before, good, text = snowflake.definitions(), snowflake.query(names), mart.read_text()
    workspace.edit("models/retail/dim_product.sql", "  product_name::VARCHAR", "  product_category::VARCHAR")
    plan(workspace.context("snowflake"), "prod")
    assert snowflake.query(names) != good
    mart.write_text(text)
    with snowflake.sent() as statements:
        plan(workspace.context("snowflake"), "prod")
    assert table_writes(statements) == []
    assert writes(statements), "the view of the mart"
    assert snowflake.definitions() == before
    assert snowflake.query(names) == good
