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
LAST_COLUMN = "SUM(sales.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */"
NEW_COLUMN = LAST_COLUMN.replace(" /*", ", /*") + "\n  MAX(sales.order_date)::DATE AS last_order_date /* Last sale */"

TABLE = "models/intermediate/int_retail__sales_aggregated.sql"
LAST_TABLE_COLUMN = "_loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the newest load of a line, UTC */"
NEW_TABLE_COLUMN = LAST_TABLE_COLUMN.replace(" /*", ", /*") + "\n  YEAR(order_date)::INT AS order_year /* Year */"


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


def models_built(statements: list[str]) -> set[str]:
    """Names of the physical tables and views created or written to, without their version: RETAIL__DIM_PRODUCT."""
    physical = re.compile(r'[A-Z ]+(?:"\w+"\.)*"(\w+?__\w+?)__\d+"')
    return {found[1] for statement in writes(statements) if (found := physical.match(statement))}


def test_a_second_plan_without_changes_writes_nothing(workspace: Workspace) -> None:
    plan(workspace.context(), "dev")
    context = workspace.context()
    with recorded() as statements:
        plan(context, "dev")
    assert len(statements) > 5, "no statement was recorded"
    assert writes(statements) == []
    assert not context.plan_builder("dev", skip_tests=True).build().has_changes


def test_an_environment_without_a_change_has_every_table_also_after_it_has_expired(workspace: Workspace) -> None:
    context = workspace.context()
    in_prod = {name.replace(".", "__dev.").lower() for name in views(context, "")}
    plan(context, "dev")
    assert {name.lower() for name in views(context, "__dev")} == in_prod
    context.invalidate_environment("dev", sync=True)
    assert not views(context, "__dev")
    plan(workspace.context(), "dev")
    assert {name.lower() for name in views(context, "__dev")} == in_prod


def test_a_non_breaking_change_builds_only_the_changed_mart(workspace: Workspace) -> None:
    prod_before = views(workspace.context(), "")
    workspace.edit(MART, LAST_COLUMN, NEW_COLUMN)
    context = workspace.context()
    with recorded() as statements:
        plan(context, "dev")
    assert models_built(statements) == {"RETAIL__RPT_NET_REVENUE_BY_CITY"}
    assert views(context, "") == prod_before
    assert "last_order_date" in columns(context, "retail__dev.rpt_net_revenue_by_city")
    assert "last_order_date" not in columns(context, "retail.rpt_net_revenue_by_city")


def test_a_new_column_of_a_table_rebuilds_no_model_downstream(workspace: Workspace) -> None:
    workspace.edit(TABLE, LAST_TABLE_COLUMN, NEW_TABLE_COLUMN)
    with recorded() as statements:
        plan(workspace.context(), "dev")
    assert models_built(statements) == {"INTERMEDIATE__INT_RETAIL__SALES_AGGREGATED"}


def test_a_breaking_change_rebuilds_downstream_models(workspace: Workspace) -> None:
    workspace.edit(
        "models/retail/rpt_revenue_daily.sql",
        "FROM intermediate.int_retail__sales_aggregated",
        "FROM intermediate.int_retail__sales_aggregated\nWHERE\n  line_count > 0",
    )
    with recorded() as statements:
        plan(workspace.context(), "dev")
    assert models_built(statements) == {"RETAIL__RPT_REVENUE_DAILY", "RETAIL__RPT_NET_REVENUE_BY_CITY"}


def test_promotion_to_prod_creates_no_table_and_inserts_no_row(workspace: Workspace) -> None:
    workspace.edit(TABLE, LAST_TABLE_COLUMN, NEW_TABLE_COLUMN)
    plan(workspace.context(), "dev")
    context = workspace.context()
    with recorded() as statements:
        plan(context, "prod")
    assert [statement for statement in statements if re.match(r"(CREATE (OR REPLACE )?VIEW)", statement)], (
        "nothing was promoted"
    )
    assert table_writes(statements) == []
    assert "order_year" in columns(context, "intermediate.int_retail__sales_aggregated")


def test_a_changed_price_rule_reaches_every_sum_in_dev_and_after_promotion(workspace: Workspace) -> None:
    """Of the stored tables, only versions are forward-only. Such a table of sums would follow the old rule in prod."""
    workspace.edit(
        "models/intermediate/int_retail__sales_validated.sql",
        "        quantity * unit_price_amount::DECIMAL(19, 2),\n",
        "        quantity * unit_price_amount::DECIMAL(19, 2) * 2,\n",
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
    workspace.edit(MART, "SUM(sales.net_revenue_amount)", "SUM(sales.net_revenue_amount * 2)")
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
        if model.kind.is_incremental or model.kind.is_custom
    }
    assert len(tables) == 9, sorted(tables)
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
    assert models_built(table_writes(statements)) == {
        f"INTERMEDIATE__INT_{entity}_VERSIONS" for entity in ("EDTECH__STUDENT", "EDTECH__COURSE", "RETAIL__CUSTOMER")
    }


def columns(context: Context, view: str) -> set[str]:
    return {name.lower() for name in context.engine_adapter.columns(view)}
