"""A pull request's environment against prod on Snowflake, and what a run of prod tells there."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from applications import Applications, new_state
from conftest import load
from emulated import Snowflake
from workspace import Workspace, plan

from meshflow.ci.diff import compare
from meshflow.source.server import Server

STUDENT = "models/pii/student.sql"
CREDITS = "models/edtech/rpt_student_credits.sql"


@pytest.fixture(scope="module")
def workspace(
    project: Path,
    postgres: Server,
    snowflake: Snowflake,
    applications: Applications,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workspace:
    """Prod, and environment pr_1 with two marts and a view of refused rows changed."""
    load(applications, data, at=datetime.now(UTC))
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))
    plan(workspace.context("snowflake"), "prod")
    workspace.edit(STUDENT, "email::VARCHAR AS email", "IFF(student_id % 2 = 0, UPPER(email), email)::VARCHAR AS email")
    workspace.edit(
        CREDITS, "SUM(courses.credits)::INT AS", "IFF(enrollments.student_id % 3 = 0, NULL, SUM(courses.credits))::INT AS"
    )
    workspace.edit(CREDITS, "GROUP BY\n", "WHERE enrollments.student_id % 5 <> 0\nGROUP BY\n")
    workspace.edit("models/quarantine/retail_sales.sql", "  city, /*", "  UPPER(city) AS city, /*")
    plan(workspace.context("snowflake"), "pr_1")
    return workspace


def test_differences_are_what_the_server_counts_by_hand(workspace: Workspace, snowflake: Snowflake) -> None:
    context = workspace.context("snowflake")
    names = ["PII.STUDENT", "EDTECH.RPT_STUDENT_CREDITS", "QUARANTINE.RETAIL_SALES"]
    with snowflake.sent() as statements:
        found = compare(context, "pr_1", [context.get_model(name).fqn for name in names], [])
    assert not found.skipped
    by_model = {one.model: one for one in found.differences}

    def ask(query: str) -> tuple[int, ...]:
        [row] = snowflake.query(query)
        return tuple(map(int, row))

    student, credits, refused = (by_model[name.lower()] for name in names)
    total, emails = ask(
        "SELECT COUNT(*), COUNT_IF(STUDENT_ID % 2 = 0 AND EMAIL <> UPPER(EMAIL)) FROM ANALYTICS.PII.STUDENT"
    )
    assert emails
    assert (student.prod_rows, student.environment_rows, student.added, student.removed) == (total, total, 0, 0)
    assert (student.changed, student.columns) == (emails, {"email": emails})

    rows, gone, changed = ask(
        "SELECT COUNT(*), COUNT_IF(STUDENT_ID % 5 = 0), COUNT_IF(STUDENT_ID % 5 <> 0 AND STUDENT_ID % 3 = 0) "
        "FROM ANALYTICS.EDTECH.RPT_STUDENT_CREDITS"
    )
    assert gone
    assert (credits.prod_rows, credits.environment_rows, credits.removed) == (rows, rows - gone, gone)
    assert (credits.added, credits.columns) == (0, {"total_credit_count": changed})

    rows, keyless, changed = ask(
        "SELECT COUNT(*), COUNT_IF(ORDER_ID IS NULL), COUNT_IF(CITY <> UPPER(CITY)) FROM ANALYTICS.QUARANTINE.RETAIL_SALES"
    )
    assert changed
    assert (refused.added, refused.removed, refused.changed) == (0, 0, changed), f"{keyless} of {rows} have no order_id"
    assert all(one.is_unique for one in found.differences)
    selects = [one for one in statements if "CROSS JOIN" in one]
    assert len(selects) == len(names), "one query a model"
    assert all("SQLMESH_" in one.split("FROM")[2] for one in selects), "not of the views, which mask"
    assert not [one for one in statements if one.startswith(("CREATE", "INSERT", "DROP"))], "nothing is left behind"
