"""Statements that SQLMesh sends to the database for plans, promotions and runs."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmesh.core.context import Context
from sqlmesh.utils.date import now
from sqlmesh.utils.errors import PlanError
from workspace import Workspace, plan, recorded, run, table_writes, writes

MART = "models/retail/rpt_net_revenue_by_city.sql"
LAST_COLUMN = "SUM(days.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */"
NEW_COLUMN = LAST_COLUMN.replace(" /*", ", /*") + "\n  MAX(days.order_date)::DATE AS last_order_date /* Last sale */"


@pytest.fixture
def workspace(built: Workspace, tmp_path: Path) -> Workspace:
    """A project whose prod has been built."""
    return built.clone(tmp_path)


def views(context: Context, suffix: str) -> dict[str, str]:
    """Definition of each view in the schemas of an environment: '' for prod, '__dev' for dev."""
    found = context.engine_adapter.fetchall(
        "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal AND NOT schema_name LIKE 'SQLMESH_%'"
    )
    pattern = re.compile(rf"[A-Z]+{suffix}", re.IGNORECASE)
    return {f"{schema}.{view}": sql for schema, view, sql in found if pattern.fullmatch(schema)}


def tables_written(statements: list[str]) -> set[str]:
    """Names of the tables created or written to, without their version: RETAIL__DIM_PRODUCT."""
    return {
        table for statement in table_writes(statements) for table in re.findall(r'"(\w+?__\w+?)__\d+"', statement)[:1]
    }


def test_a_second_plan_without_changes_writes_nothing(workspace: Workspace) -> None:
    plan(workspace.context(), "dev")
    context = workspace.context()
    with recorded() as statements:
        plan(context, "dev")
    assert len(statements) > 5, "no statement was recorded"
    assert writes(statements) == []
    assert not context.plan_builder("dev", skip_tests=True).build().has_changes


def test_a_non_breaking_change_builds_only_the_changed_mart(workspace: Workspace) -> None:
    prod_before = views(workspace.context(), "")
    workspace.edit(MART, LAST_COLUMN, NEW_COLUMN)
    context = workspace.context()
    with recorded() as statements:
        plan(context, "dev")
    built = tables_written(statements)
    assert built == {"RETAIL__RPT_NET_REVENUE_BY_CITY"}, (
        "an added column is non-breaking: nothing downstream is rebuilt"
    )
    assert views(context, "") == prod_before
    assert "last_order_date" in columns(context, "retail__dev.rpt_net_revenue_by_city")
    assert "last_order_date" not in columns(context, "retail.rpt_net_revenue_by_city")


def test_a_breaking_change_rebuilds_downstream_models(workspace: Workspace) -> None:
    workspace.edit(
        MART,
        "FROM retail.rpt_revenue_daily AS days",
        "FROM retail.rpt_revenue_daily AS days\nCROSS JOIN (SELECT 1 AS one) AS once",
    )
    with recorded() as statements:
        plan(workspace.context(), "dev")
    built = tables_written(statements)
    assert built == {f"RETAIL__RPT_NET_REVENUE_BY_{level}" for level in ("CITY", "STATE", "COUNTRY")}


def test_promotion_to_prod_creates_no_table_and_inserts_no_row(workspace: Workspace) -> None:
    workspace.edit(MART, LAST_COLUMN, NEW_COLUMN)
    plan(workspace.context(), "dev")
    context = workspace.context()
    with recorded() as statements:
        plan(context, "prod")
    assert [statement for statement in statements if re.match(r"(CREATE (OR REPLACE )?VIEW)", statement)], (
        "nothing was promoted"
    )
    assert table_writes(statements) == []
    assert "last_order_date" in columns(context, "retail.rpt_net_revenue_by_city")


def test_a_changed_price_rule_reaches_every_sum_in_dev_and_after_promotion(workspace: Workspace) -> None:
    """INCREMENTAL_BY_PARTITION is forward-only: with it, sums were empty in dev and followed the old rule in prod."""
    workspace.edit(
        "models/intermediate/int_retail__sales_priced.sql",
        "quantity * unit_price_amount::DECIMAL(19, 2), 0",
        "quantity * unit_price_amount::DECIMAL(19, 2) * 2, 0",
    )
    context = workspace.context()
    net = {"retail.fct_sales", "retail.rpt_revenue_daily", "retail.rpt_net_revenue_by_country"}
    before = {context.engine_adapter.fetchone(f"SELECT SUM(net_revenue_amount) FROM {table}") for table in net}
    assert len(before) == 1

    plan(context, "dev")
    in_dev = {
        context.engine_adapter.fetchone(f"SELECT SUM(net_revenue_amount) FROM {table.replace('.', '__dev.')}")
        for table in net
    }
    plan(context, "prod")
    in_prod = {context.engine_adapter.fetchone(f"SELECT SUM(net_revenue_amount) FROM {table}") for table in net}
    assert len(in_dev) == 1
    assert in_prod == in_dev
    assert in_prod != before


def test_a_failing_audit_stops_promotion_and_prod_is_unchanged(workspace: Workspace) -> None:
    context = workspace.context()
    figures = "SELECT * FROM retail.rpt_net_revenue_by_city ORDER BY location_id"
    prod_before, figures_before = views(context, ""), context.engine_adapter.fetchall(figures)
    workspace.edit(MART, "SUM(days.net_revenue_amount)", "SUM(days.net_revenue_amount * 2)")
    context = workspace.context()
    with pytest.raises(PlanError):
        plan(context, "prod")
    assert views(context, "") == prod_before
    assert context.engine_adapter.fetchall(figures) == figures_before


def test_history_survives_the_run_of_a_later_interval(workspace: Workspace) -> None:
    context = workspace.context()
    tables = {
        model.fqn: context.snapshots[model.fqn].table_name()
        for model in context.models.values()
        if model.kind.is_incremental or model.kind.is_scd_type_2
    }
    assert len(tables) == 10, sorted(tables)
    before = {
        name: context.engine_adapter.fetchall(f"SELECT * FROM {table} ORDER BY ALL") for name, table in tables.items()
    }
    assert all(before.values()), "the tables need rows before the run"

    run(context, at=now() + timedelta(hours=2))

    for name, table in tables.items():
        assert context.engine_adapter.fetchall(f"SELECT * FROM {table} ORDER BY ALL") == before[name], name


def test_the_first_promotion_rebuilds_only_the_histories(built: Workspace, tmp_path: Path) -> None:
    workspace = built.clone(tmp_path, data=False)
    plan(workspace.context(), "dev")
    with recorded() as statements:
        plan(workspace.context(), "prod")
    rebuilt = tables_written(statements)
    assert rebuilt == {f"HISTORY__HIST_{entity}" for entity in ("STUDENT", "COURSE", "CUSTOMER")}


def columns(context: Context, view: str) -> set[str]:
    return {name.lower() for name in context.engine_adapter.columns(view)}
