"""A pull request's environment compared with prod on Snowflake."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import load
from emulated import Snowflake
from sources import SourceDatabase, new_state
from workspace import Workspace, plan

from meshflow.ci.diff import compare
from meshflow.source.server import Server

STUDENT = "models/pii/student.sql"
FRESHNESS = "models/ops/table_freshness.sql"


@pytest.fixture(scope="module")
def workspace(
    project: Path,
    postgres: Server,
    snowflake: Snowflake,
    sources: SourceDatabase,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workspace:
    """Prod, and an environment pr_1 in which two marts and a view of rejected rows differ."""
    load(sources, data, at=datetime.now(UTC))
    workspace = Workspace.copy_of(project, tmp_path_factory.mktemp("workspace"), new_state(postgres))
    plan(workspace.context("snowflake"), "prod")
    workspace.edit(STUDENT, "email::VARCHAR AS email", "UPPER(email)::VARCHAR AS email")
    workspace.edit(FRESHNESS, "source_table::VARCHAR AS", "REPLACE(source_table, 'courses', 'subjects')::VARCHAR AS")
    workspace.edit(FRESHNESS, "  row_count::INT AS", "  (row_count + 1)::INT AS")
    workspace.edit(FRESHNESS, "_counted\n", "_counted\nWHERE source_table <> 'retail.sales'\n")
    workspace.edit("models/quarantine/retail_sales.sql", "  city, /*", "  UPPER(city) AS city, /*")
    workspace.context("snowflake").plan("pr_1", auto_apply=True, no_prompts=True, skip_tests=True, skip_linter=True)
    return workspace


def test_differences_equal_hand_written_counts(workspace: Workspace, snowflake: Snowflake) -> None:
    context = workspace.context("snowflake")
    names = ["PII.STUDENT", "OPS.TABLE_FRESHNESS", "QUARANTINE.RETAIL_SALES"]
    with snowflake.sent() as statements:
        found = compare(context, "pr_1", [context.get_model(name).fqn for name in names], [])
    assert not found.skipped
    by_model = {difference.model: difference for difference in found.differences}

    def count(query: str) -> tuple[int, ...]:
        [row] = snowflake.query(query)
        return tuple(map(int, row))

    student, freshness, rejected = (by_model[name.lower()] for name in names)
    total, emails = count("SELECT COUNT(*), COUNT_IF(EMAIL <> UPPER(EMAIL)) FROM ANALYTICS.PII.STUDENT")
    assert emails
    assert (student.prod_rows, student.environment_rows, student.added, student.removed) == (total, total, 0, 0)
    assert (student.changed, student.columns) == (emails, {"email": emails})

    # Of four tables, one has another name, one is gone, and two count one row more than they have.
    assert (freshness.prod_rows, freshness.environment_rows) == (4, 3)
    assert (freshness.added, freshness.removed, freshness.changed) == (1, 2, 2)
    assert freshness.columns == {"row_count": 2}

    rows, changed = count("SELECT COUNT(*), COUNT_IF(CITY <> UPPER(CITY)) FROM ANALYTICS.QUARANTINE.RETAIL_SALES")
    assert changed
    assert (rejected.prod_rows, rejected.added, rejected.removed, rejected.changed) == (rows, 0, 0, changed)
    assert all(difference.is_unique for difference in found.differences)
    comparisons = [sql for sql in statements if "CROSS JOIN" in sql]
    assert len(comparisons) == len(names), "one query per model"
    assert all("SQLMESH_" in sql.split("FROM")[2] for sql in comparisons), "of tables, because views mask"
    assert not [sql for sql in statements if sql.startswith(("CREATE", "INSERT", "DROP"))], "nothing is left behind"
