"""The environment of a pull request: pr-environment.yml, started as by GitHub.

Four pull requests are opened at once, each with a fault. One of them is fixed by a commit that waits for an approval,
which builds it. Later it builds over budget with the label. The statements sent to the warehouse, and its views, show
what each has changed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from act import Run
from changes import (
    ENROLLMENTS,
    Files,
    missing_province,
    renamed_courses,
    renamed_courses_in_test,
    three_models,
    undescribed_column,
)
from conftest import Actions
from fake_github import FakeGitHub, PullRequest
from warehouse import Warehouse, built

from meshflow.ci.github import code

CHANGED = {"RPT_STUDENT_ENROLLMENTS", "RPT_STUDENT_CREDITS"}
"""The mart that the first pull request changes, and the one that reads it."""
BUILT = "PR environment"
"""Name of the check that the gate requires."""
SUCCEEDED = dict.fromkeys(("admit", "test", "environment", "report"), "success")
INVITATION = "comment `/deploy`"
TITLE = (
    "Rename `courses` | </details> <img src=x onerror=alert(1)> ${{ secrets.MESHFLOW_STATE_PASSWORD }} @acme/everyone"
)


@dataclass
class BuiltPullRequest:
    """A pull request and its last run."""

    pull: PullRequest
    run: Run


@dataclass
class FaultyPullRequests:
    unit_test: BuiltPullRequest
    lint: BuiltPullRequest
    audit: BuiltPullRequest
    budget: BuiltPullRequest
    prod_before: dict[str, str]
    sent_before: int
    """Statements of CI in the log before the first of these builds."""


@pytest.fixture(scope="module")
def injected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that exists if a shell has executed the name of a branch."""
    return tmp_path_factory.mktemp("injected") / "file"


@pytest.fixture(scope="module")
def faulty(github: FakeGitHub, actions: Actions, warehouse: Warehouse, injected: Path) -> FaultyPullRequests:
    """Four pull requests with one fault each, opened at once."""
    prod, sent = warehouse.prod(), len(warehouse.snowflake.statements("CI"))
    changes = {
        f"ann/$(touch${{IFS}}{injected})`touch${{IFS}}{injected}`": renamed_courses(github),
        "lint": undescribed_column(github),
        "audit": missing_province(github),
        "budget": three_models(github),
    }
    pulls = [open_pull(github, branch, files) for branch, files in changes.items()]
    pulls[0].title = TITLE
    started = [actions.pull(pull, "opened") for pull in pulls]
    runs = [actions.finish(one, pull) for one, pull in zip(started, pulls, strict=True)]
    built = (BuiltPullRequest(pull, run) for pull, run in zip(pulls, runs, strict=True))
    return FaultyPullRequests(*built, prod_before=prod, sent_before=sent)


def open_pull(github: FakeGitHub, branch: str, files: Files) -> PullRequest:
    github.push(branch, files, author="ann")
    return github.open_pull(branch, author="ann")


def report(github: FakeGitHub, pull: PullRequest) -> str:
    """The only comment with the report."""
    [found] = [comment for comment in github.comments_on(pull) if "<!-- meshflow report -->" in comment]
    return found


def test_a_failing_unit_test_is_in_the_comment_and_builds_nothing(
    faulty: FaultyPullRequests, github: FakeGitHub
) -> None:
    assert faulty.unit_test.run.jobs == {"admit": "success", "test": "failure", "report": "success"}, (
        faulty.unit_test.run
    )
    text = report(github, faulty.unit_test.pull)
    assert code("test_each_enrollment_of_a_student_is_a_row_with_its_course") in text
    assert "Calculus I!" in text, "the row that it got"
    assert INVITATION not in text
    assert github.checks_of(faulty.unit_test.pull.head_sha) == {
        "Admit": "success", "Lint and test": "failure", "Report": "success", BUILT: "failure",
    }  # fmt: skip


def test_a_lint_error_is_in_the_comment_and_builds_nothing(faulty: FaultyPullRequests, github: FakeGitHub) -> None:
    assert faulty.lint.run.jobs == {"admit": "success", "test": "failure", "report": "success"}, faulty.lint.run
    text = report(github, faulty.lint.pull)
    assert f"- {code('retail.rpt_net_revenue_by_country')}: {code('columnsdescribed')}, " in text
    assert INVITATION not in text
    assert github.checks_of(faulty.lint.pull.head_sha)[BUILT] == "failure"


def test_a_failing_audit_is_in_the_comment_with_its_rows_and_makes_no_environment(
    faulty: FaultyPullRequests, github: FakeGitHub
) -> None:
    assert faulty.audit.run.jobs == {
        "admit": "success", "test": "success", "environment": "failure", "report": "success",
    }, faulty.audit.run  # fmt: skip
    text = report(github, faulty.audit.pull)
    assert code("retail.rpt_net_revenue_by_city: audit totals_reconcile found 1 row") in text
    assert "| 1 | error |" in text
    assert "+  locations.province <> 'Manitoba'\n" in text, "the change that it found"
    assert INVITATION not in text
    checks = github.checks_of(faulty.audit.pull.head_sha)
    assert (checks["Build"], checks[BUILT]) == ("failure", "failure")


def test_a_plan_over_budget_fails_a_check_and_builds_nothing(
    faulty: FaultyPullRequests, github: FakeGitHub, warehouse: Warehouse
) -> None:
    assert faulty.budget.run.steps["Build and compare"] == "failure", faulty.budget.run
    text = report(github, faulty.budget.pull)
    assert "3 of 2 models" in text
    assert code("retail.rpt_net_revenue_by_city") in text
    assert INVITATION not in text
    assert github.checks_of(faulty.budget.pull.head_sha)[BUILT] == "failure"
    # The pull request with the failing audit builds the third of its marts.
    marts = {f"RETAIL__RPT_NET_REVENUE_BY_{name}" for name in ("STATE", "COUNTRY")}
    assert not marts & built(warehouse.snowflake.statements("CI")[faulty.sent_before :])


def test_faulty_pull_requests_have_no_environment(faulty: FaultyPullRequests, warehouse: Warehouse) -> None:
    assert warehouse.environments() == {"prod"}


@pytest.fixture(scope="module")
def waiting(faulty: FaultyPullRequests, github: FakeGitHub, actions: Actions) -> Run:
    """The run of the first pull request after its unit test is fixed, by a commit that also changes the Makefile."""
    pull = faulty.unit_test.pull
    makefile = github.git("show", "main:Makefile") + "\n# A comment\n"
    github.push(pull.head, renamed_courses_in_test(github) | {"Makefile": makefile})
    return actions.finish(actions.pull(pull, "synchronize"), pull)


def test_a_commit_that_waits_for_an_approval_is_not_built(
    faulty: FaultyPullRequests, waiting: Run, github: FakeGitHub
) -> None:
    assert waiting.jobs == {"admit": "success"}, waiting
    assert github.checks_of(faulty.unit_test.pull.head_sha) == {"Admit": "success", BUILT: "action_required"}


@pytest.fixture(scope="module")
def fixed(
    faulty: FaultyPullRequests, waiting: Run, github: FakeGitHub, actions: Actions, warehouse: Warehouse
) -> set[str]:
    """The tables and views built for the first pull request after its fix is approved."""
    before = len(warehouse.snowflake.statements("CI"))
    pull = faulty.unit_test.pull
    reviewed = actions.finish(actions.review(pull, "bob"), pull)
    assert reviewed.jobs == {"rebuild": "success"}, reviewed
    faulty.unit_test.run = actions.dispatched(pull).wait()
    return built(warehouse.snowflake.statements("CI")[before:])


def test_an_approved_fix_makes_all_checks_succeed_and_builds_only_the_changed_models(
    faulty: FaultyPullRequests, fixed: set[str], github: FakeGitHub, warehouse: Warehouse
) -> None:
    pull = faulty.unit_test.pull
    assert faulty.unit_test.run.jobs == SUCCEEDED, faulty.unit_test.run
    checks = github.checks_of(pull.head_sha)
    assert checks[BUILT] == "success"
    assert set(checks.values()) == {"success"}
    assert warehouse.environments() == {"prod", f"pr_{pull.number}"}
    assert fixed == {f"EDTECH__{mart}" for mart in CHANGED}
    schema = f"EDTECH__PR_{pull.number}"
    assert set(warehouse.snowflake.definitions(schema)) == {f"{schema}.{mart}" for mart in CHANGED}


def test_the_comment_shows_the_plan_and_the_data_diff_without_data(
    faulty: FaultyPullRequests, fixed: set[str], github: FakeGitHub, warehouse: Warehouse
) -> None:
    text = report(github, faulty.unit_test.pull)
    query = "SELECT COUNT(*), COUNT(COURSE_NAME) FROM ANALYTICS.EDTECH.RPT_STUDENT_ENROLLMENTS"
    [(rows, renamed)] = warehouse.snowflake.query(query)
    row = next(
        line for line in text.splitlines() if code("edtech.rpt_student_enrollments") in line and f"{rows:,}" in line
    )
    assert f"| {rows:,} | {rows:,} | 0 | 0 | {renamed:,} | {code('course_name')} {renamed:,} |" in row
    assert faulty.unit_test.pull.head_sha[:7] in text
    number = faulty.unit_test.pull.number
    assert f"SELECT * FROM ANALYTICS.EDTECH__PR_{number}.RPT_STUDENT_ENROLLMENTS LIMIT 100;" in text
    assert "actions/runs/1#artifacts)" in text, "the catalog"
    assert f"\n```\nedtech.rpt_student_enrollments\n  text of {ENROLLMENTS} changed\n" in text, "main's catalog"
    assert INVITATION in text
    comments = [one.split("\n", 1)[0] for one in github.comments_on(faulty.unit_test.pull)]
    assert sorted(comments) == ["<!-- meshflow admit -->", "<!-- meshflow report -->"], "also none of SQLMesh's bot"
    names = warehouse.snowflake.query(
        "SELECT DISTINCT FULL_NAME, COURSE_NAME FROM ANALYTICS.EDTECH.RPT_STUDENT_ENROLLMENTS"
    )
    leaked = [value for name in names for value in name if value and value in text]
    assert len(names) > 10
    assert not leaked


def test_the_label_allows_a_plan_over_budget_and_the_comment_is_updated(
    faulty: FaultyPullRequests, fixed: set[str], github: FakeGitHub, actions: Actions, warehouse: Warehouse
) -> None:
    pull = faulty.unit_test.pull
    before, comments = report(github, pull), len(github.comments_on(pull))
    github.push(pull.head, three_models(github))
    github.review(pull, "bob", "APPROVED")
    pull.labels.add("over-budget")
    run = actions.finish(actions.pull(pull, "labeled", label="over-budget"), pull)
    assert run.jobs == SUCCEEDED, run
    after = report(github, pull)
    assert len(github.comments_on(pull)) == comments
    assert pull.head_sha[:7] not in before
    assert pull.head_sha[:7] in after
    assert code("retail.rpt_net_revenue_by_city") in after
    lineage = "rows depend on: retail.fct_sales.location_id (FILTER, GROUP_BY, JOIN) added"
    assert "\nretail.rpt_net_revenue_by_city\n" in after
    assert f"\n  {lineage}\n" in after, "what differs from main's catalog"
    assert f"RETAIL__PR_{pull.number}.RPT_NET_REVENUE_BY_CITY" in warehouse.snowflake.definitions(
        f"RETAIL__PR_{pull.number}"
    )


def test_prod_is_unchanged(faulty: FaultyPullRequests, fixed: set[str], warehouse: Warehouse) -> None:
    assert warehouse.prod() == faulty.prod_before


def test_neither_a_shell_nor_markdown_interprets_branch_names_and_titles(
    faulty: FaultyPullRequests, fixed: set[str], github: FakeGitHub, injected: Path
) -> None:
    assert not injected.exists()
    comments = "\n".join(github.comments_on(faulty.unit_test.pull))
    assert not re.search(r"<img|@acme|touch\$", comments)


def test_a_change_of_documents_is_reported_in_one_line_without_a_job_that_has_keys(
    offline_actions: Actions, github: FakeGitHub
) -> None:
    pull = open_pull(github, "documents", {"docs/note.md": "A note\n", "README.md": "meshflow\n"})
    run = offline_actions.finish(offline_actions.pull(pull, "opened"), pull)
    assert run.jobs == {"admit": "success", "report": "success"}, run
    [comment] = github.comments_on(pull)
    [_, line] = comment.splitlines()
    assert "changes documents only: there is nothing to build" in line
    [check] = [check for check in github.checks if check.head_sha == pull.head_sha and check.name == BUILT]
    assert (check.conclusion, check.external_id) == ("success", pull.base_sha)


def test_a_fork_gets_no_job(offline_actions: Actions, github: FakeGitHub) -> None:
    github.push("stranger", {"config.yaml": "gateways: {}\n"}, author="stranger")
    pull = github.open_pull("stranger", author="stranger", fork="stranger/meshflow")
    assert offline_actions.pull(pull, "opened").wait().jobs == {}
