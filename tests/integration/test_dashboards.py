"""Queries of the dashboards on Snowflake: through the real connector, as their own user, with bound values."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import click
import pytest
from emulated import Keys, Snowflake

from meshflow.serve import ENVIRONMENTS, ROW_LIMIT, Query, environments
from meshflow.serve import Snowflake as Production

REVENUE = Query(
    "SELECT country, SUM(net_revenue_amount) AS net_revenue FROM retail.fct_sales AS sales "
    "WHERE sales.order_date BETWEEN ? AND ? GROUP BY country ORDER BY country",
    (date(2026, 10, 1), date(2026, 10, 31)),
)


@pytest.fixture(scope="module")
def production(snowflake: Snowflake, keys: Keys) -> Iterator[Production]:
    """Marts of prod and of a pull request, with three order lines each. The dashboards were granted both."""
    for schema, price in (("RETAIL", 10), ("RETAIL__PR_12", 20)):
        snowflake.query(f"CREATE SCHEMA ANALYTICS.{schema}")
        snowflake.query(
            f"CREATE VIEW ANALYTICS.{schema}.FCT_SALES AS SELECT column1::VARCHAR AS country, "
            "column2::DATE AS order_date, column3::DECIMAL(18, 2) AS net_revenue_amount FROM VALUES "
            f"('Spain', '2026-10-01', {price}.25), ('Spain', '2026-11-01', 1.00), ('Canada', '2026-10-31', 0.01)"
        )
    for grant in ("USAGE ON SCHEMA ANALYTICS.RETAIL__PR_12", "SELECT ON ALL VIEWS IN SCHEMA ANALYTICS.RETAIL__PR_12"):
        snowflake.query(f"GRANT {grant} TO ROLE DASHBOARDS__B_ROLE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_USER", "DASHBOARDS")
        patch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_PRIVATE_KEY", keys.private("DASHBOARDS"))
        yield Production()


def rows_of(production: Production, environment: str, query: Query) -> list[tuple[object, ...]]:
    return [tuple(row) for row in production.run(production.now(), environment, query).to_numpy()]


def test_environments_are_the_visible_schemas(production: Production) -> None:
    """The emulator shows all schemas. tests/infra checks that the dashboards' role reads those of prod alone."""
    assert environments(production.run(production.now(), "prod", ENVIRONMENTS)) == ["prod", "pr_12"]


def test_a_query_reads_the_views_of_its_environment(production: Production) -> None:
    assert rows_of(production, "prod", REVENUE) == [("Canada", Decimal("0.01")), ("Spain", Decimal("10.25"))]
    assert rows_of(production, "pr_12", REVENUE) == [("Canada", Decimal("0.01")), ("Spain", Decimal("20.25"))]


def test_values_are_bound_and_never_part_of_the_statement(production: Production, snowflake: Snowflake) -> None:
    assert rows_of(production, "prod", REVENUE.only("sales.country", ["Spain"])) == [("Spain", Decimal("10.25"))]
    assert rows_of(production, "prod", REVENUE.only("sales.country", ["Spain' OR '1' = '1"])) == []
    assert not [
        sql
        for sql in snowflake.statements("DASHBOARDS")
        if "Spain'" in sql and "retail" in sql.lower() and "SUM" in sql
    ]


def test_the_session_has_the_role_and_warehouse_of_the_dashboards(production: Production, snowflake: Snowflake) -> None:
    rows_of(production, "prod", REVENUE)
    login = snowflake.logins("DASHBOARDS")[-1]
    assert (login["roleName"], login["warehouse"]) == ("DASHBOARDS__U_ROLE", "BI")
    assert login["parameters"]["QUERY_TAG"] == "meshflow dashboards"


def test_an_error_names_a_missing_table_and_the_command_that_updates_the_environment(production: Production) -> None:
    with pytest.raises(click.ClickException, match=r"pr_7 doesn't have .* retail\.fct_sales.*`sqlmesh plan pr_7`"):
        rows_of(production, "pr_7", REVENUE)


def test_a_failed_login_is_reported_in_one_line_and_retried(production: Production, snowflake: Snowflake) -> None:
    fresh = Production()
    snowflake.fail({"login": True, "code": "390144", "message": "JWT token is invalid."})
    with pytest.raises(click.ClickException, match=r"^Snowflake can't be queried: .*JWT token is invalid"):
        rows_of(fresh, "prod", REVENUE)
    assert rows_of(fresh, "prod", REVENUE)


def test_an_expired_session_is_reported_in_one_line_and_replaced(production: Production, snowflake: Snowflake) -> None:
    assert rows_of(production, "prod", REVENUE)
    logins = len(snowflake.logins("DASHBOARDS"))
    snowflake.fail({"statement": "fct_sales", "code": "390114", "message": "Authentication token has expired."})
    with pytest.raises(click.ClickException, match=r"^Snowflake can't be queried: .*token has expired"):
        rows_of(production, "prod", REVENUE)
    assert rows_of(production, "prod", REVENUE)
    assert len(snowflake.logins("DASHBOARDS")) == logins + 1


def own(sql: str) -> Query:
    return Query(sql, is_own=True)


def test_a_persons_own_query_is_run_as_the_role_of_the_dashboards(production: Production, snowflake: Snowflake) -> None:
    count = own("SELECT country, COUNT(*) AS line_count FROM retail.fct_sales GROUP BY country ORDER BY country")
    assert rows_of(production, "prod", count) == [("Canada", 1), ("Spain", 2)]
    assert rows_of(production, "pr_12", count) == [("Canada", 1), ("Spain", 2)]
    [*_, last] = snowflake.statements("DASHBOARDS")
    assert last.endswith(f"LIMIT {ROW_LIMIT + 1}")


@pytest.mark.parametrize(
    "sql",
    [
        "PUT file:///etc/passwd @~", "GET @~ file:///tmp", "USE ROLE ACCOUNTADMIN", "DROP TABLE retail.fct_sales",
        "SELECT 1; DROP TABLE retail.fct_sales", "CREATE TABLE retail.x AS SELECT 1", "ALTER SESSION SET A = 1",
    ],
)  # fmt: skip
def test_anything_but_a_select_is_not_sent(production: Production, snowflake: Snowflake, sql: str) -> None:
    with (
        snowflake.sent() as statements,
        pytest.raises(click.ClickException, match=r"^(Write a single SELECT|The SQL can't be parsed)"),
    ):
        rows_of(production, "prod", own(sql))
    assert statements == []


def test_a_query_with_an_error_doesnt_log_the_others_out(production: Production, snowflake: Snowflake) -> None:
    assert rows_of(production, "prod", REVENUE)
    logins = len(snowflake.logins("DASHBOARDS"))
    with pytest.raises(click.ClickException, match=r"^The query failed: `.*`\.$"):
        rows_of(production, "prod", own("SELECT 'x'::INT AS number FROM retail.fct_sales"))
    with pytest.raises(click.ClickException, match="doesn't have every table"):
        rows_of(production, "prod", own("SELECT * FROM pii.student"))
    assert rows_of(production, "prod", REVENUE)
    assert len(snowflake.logins("DASHBOARDS")) == logins
