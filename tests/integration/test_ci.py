"""A pull request's environment compared with prod on Snowflake."""

import re
from pathlib import Path

import pytest
from emulated import Snowflake
from workspace import Workspace

from meshflow.ci.build import evaluate
from meshflow.ci.diff import compare

STUDENT = "models/pii/student.sql"
FRESHNESS = "models/ops/table_freshness.sql"


@pytest.fixture(scope="module")
def workspace(workspace: Workspace) -> Workspace:
    """Prod, and an environment pr_1 in which two marts and a view of rejected rows differ."""
    workspace.edit(STUDENT, "@mask(email)", "@mask(UPPER(email))")
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
    [sums] = snowflake.query(
        "SELECT p.n, e.n FROM (SELECT SUM(ROW_COUNT) AS n FROM ANALYTICS.OPS.TABLE_FRESHNESS) AS p, "
        "(SELECT SUM(ROW_COUNT) AS n FROM ANALYTICS.OPS__PR_1.TABLE_FRESHNESS) AS e"
    )
    [numbers] = [one for one in freshness.numbers if one.column == "row_count"]
    assert (numbers.sums, numbers.values) == (tuple(f"{one:,}" for one in sums), (4, 3))
    assert not student.numbers, "of personal data there are no sums"

    rows, changed = count("SELECT COUNT(*), COUNT_IF(CITY <> UPPER(CITY)) FROM ANALYTICS.QUARANTINE.RETAIL_SALES")
    assert changed
    assert (rejected.prod_rows, rejected.added, rejected.removed, rejected.changed) == (rows, 0, 0, changed)
    assert all(difference.is_unique for difference in found.differences)
    comparisons = [sql for sql in statements if "CROSS JOIN" in sql]
    assert len(comparisons) == len(names), "one query per model"
    assert not [sql for sql in statements if sql.startswith(("CREATE", "INSERT", "DROP"))], "nothing is left behind"


def test_a_failed_cast_is_named_by_its_query_without_the_value(
    workspace: Workspace, snowflake: Snowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    change = workspace.clone(tmp_path, workspace.state)
    emails = {email for (email,) in snowflake.query("SELECT EMAIL FROM RAW.EDTECH.STUDENTS") if email}
    change.edit(
        "models/intermediate/int_edtech__students_validated.sql", "  ranked.email,", "  ranked.email::INT AS email,"
    )
    change.edit(STUDENT, "@mask(date_of_birth, NULL)::DATE", "date_of_birth::DATE")
    for name, value in change.environment.items():
        monkeypatch.setenv(name, value)
    result = evaluate(change.path, "snowflake", "pr_2", over_budget=True)
    assert result.failure
    [error] = result.failure.errors
    # Snowflake adds the query's id, which the emulator has none of: tests/ci/test_ci_failures.py.
    assert re.fullmatch(r"intermediate\.int_edtech__students_validated: ProgrammingError \d+ \(\w{5}\)", error)
    assert [(one.column, one.exists) for one in result.masks] == [("date_of_birth", True)]
    assert emails
    assert not [email for email in emails if email in f"{result}{capfd.readouterr()}"]


def test_the_query_to_paste_reads_the_environment(
    workspace: Workspace, snowflake: Snowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = workspace.clone(tmp_path, workspace.state)
    for name, value in change.environment.items():
        monkeypatch.setenv(name, value)
    result = evaluate(change.path, "snowflake", "pr_1", over_budget=True)
    assert result.failure is None
    assert result.query == "SELECT * FROM ANALYTICS.OPS__PR_1.TABLE_FRESHNESS LIMIT 100;"
    assert snowflake.query(result.query.removesuffix(";"))
