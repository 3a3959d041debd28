"""What dashboards ask of Snowflake: by the real connector, as their own user, with values bound."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import click
import pytest
from emulated import Keys, Snowflake

from meshflow.serve import ENVIRONMENTS, Query, environments
from meshflow.serve import Snowflake as Production

REVENUE = Query(
    "SELECT country, SUM(net_revenue_amount) AS net_revenue FROM retail.fct_sales AS sales "
    "WHERE sales.order_date BETWEEN ? AND ? GROUP BY country ORDER BY country",
    (date(2026, 10, 1), date(2026, 10, 31)),
)


@pytest.fixture(scope="module")
def production(snowflake: Snowflake, keys: Keys) -> Iterator[Production]:
    """Marts of prod and of a pull request, three order lines each."""
    for schema, price in (("RETAIL", 10), ("RETAIL__PR_12", 20)):
        snowflake.query(f"CREATE SCHEMA ANALYTICS.{schema}")
        snowflake.query(
            f"CREATE VIEW ANALYTICS.{schema}.FCT_SALES AS SELECT column1::VARCHAR AS country, "
            "column2::DATE AS order_date, column3::DECIMAL(18, 2) AS net_revenue_amount FROM VALUES "
            f"('Spain', '2026-10-01', {price}.25), ('Spain', '2026-11-01', 1.00), ('Canada', '2026-10-31', 0.01)"
        )
    with pytest.MonkeyPatch.context() as patch:
        # The emulator knows no user of the dashboards'; what it checks is the key.
        patch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_USER", "TRANSFORMER")
        patch.setenv("MESHFLOW_SNOWFLAKE_DASHBOARDS_PRIVATE_KEY", keys.private("TRANSFORMER"))
        yield Production()


def answer(production: Production, environment: str, query: Query) -> list[tuple[object, ...]]:
    return [tuple(row) for row in production.ask(production.now(), environment, query).rows.to_numpy()]


def test_environments_are_the_schemas_that_snowflake_shows(production: Production) -> None:
    """The emulator shows all: that the dashboards' role may read prod's alone, tests/infra tells."""
    assert environments(production.ask(production.now(), "prod", ENVIRONMENTS).rows) == ["prod", "pr_12"]


def test_an_environment_answers_from_its_own_views(production: Production) -> None:
    assert answer(production, "prod", REVENUE) == [("Canada", Decimal("0.01")), ("Spain", Decimal("10.25"))]
    assert answer(production, "pr_12", REVENUE) == [("Canada", Decimal("0.01")), ("Spain", Decimal("20.25"))]


def test_values_are_bound_and_never_part_of_the_statement(production: Production, snowflake: Snowflake) -> None:
    assert answer(production, "prod", REVENUE.only("country", ["Spain"])) == [("Spain", Decimal("10.25"))]
    assert answer(production, "prod", REVENUE.only("country", ["Spain' OR '1' = '1"])) == []
    assert not [one for one in snowflake.statements() if "Spain'" in one and "retail" in one.lower() and "SUM" in one]


def test_the_session_is_the_dashboards_own(production: Production, snowflake: Snowflake) -> None:
    answer(production, "prod", REVENUE)
    login = snowflake.logins()[-1]
    assert (login["roleName"], login["warehouse"]) == ("DASHBOARDS__U_ROLE", "BI")
    assert login["parameters"]["QUERY_TAG"] == "meshflow dashboards"


def test_a_missing_table_is_named_with_what_brings_it(production: Production) -> None:
    with pytest.raises(click.ClickException, match=r"pr_7 doesn't have .* retail\.fct_sales.*`sqlmesh plan pr_7`"):
        answer(production, "pr_7", REVENUE)


def test_a_login_that_fails_is_said_in_a_line_and_tried_again(production: Production, snowflake: Snowflake) -> None:
    fresh = Production()
    snowflake.fail({"login": True, "code": "390144", "message": "JWT token is invalid."})
    with pytest.raises(click.ClickException, match=r"^Snowflake doesn't answer: .*JWT token is invalid"):
        answer(fresh, "prod", REVENUE)
    assert answer(fresh, "prod", REVENUE)


def test_an_expired_session_is_said_in_a_line_and_replaced(production: Production, snowflake: Snowflake) -> None:
    assert answer(production, "prod", REVENUE)
    logins = len(snowflake.logins())
    snowflake.fail({"statement": "fct_sales", "code": "390114", "message": "Authentication token has expired."})
    with pytest.raises(click.ClickException, match=r"^Snowflake doesn't answer: .*token has expired"):
        answer(production, "prod", REVENUE)
    assert answer(production, "prod", REVENUE)
    assert len(snowflake.logins()) == logins + 1
