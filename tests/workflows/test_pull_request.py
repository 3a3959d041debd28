"""A pull request's way to an environment of its own: pr-environment.yml, started as GitHub starts it.

Four pull requests are opened at once, each with a fault; two of them are put right. What they touch is told by the
statements that the warehouse was sent, and by its views.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from act import Run
from changes import (
    COUNTRY_TEST,
    Files,
    missing_province,
    shouted_courses,
    shouted_courses_in_test,
    three_models,
    undescribed_column,
)
from conftest import Actions
from fake_github import FakeGitHub, PullRequest
from warehouse import Warehouse, tables_written

from meshflow.ci.github import code

CHANGED = {"RPT_STUDENT_ENROLLMENTS", "RPT_STUDENT_CREDITS"}
"""What the first pull request changes, a view, and what reads it, a table."""
SYNCED = "SQLMesh - PR Environment Synced"
"""The bot's check."""
BUILT = "PR environment"
"""Ours, which the gate asks for."""
TITLE = "Shout `titles` | </details> <img src=x onerror=alert(1)> ${{ secrets.MESHFLOW_STATE_PASSWORD }} @acme/everyone"


@dataclass
class Opened:
    """A pull request, and what its last run came to."""

    pull: PullRequest
    run: Run


@dataclass
class Story:
    unit_test: Opened
    lint: Opened
    audit: Opened
    budget: Opened
    prod_before: dict[str, str]


@pytest.fixture(scope="module")
def pwned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that somebody else's branch name makes if a shell reads it."""
    return tmp_path_factory.mktemp("pwned") / "file"


@pytest.fixture(scope="module")
def story(github: FakeGitHub, actions: Actions, warehouse: Warehouse, pwned: Path) -> Story:
    """Pull requests that were opened with a fault each, all at once."""
    prod = warehouse.prod()
    changes = {
        f"ann/$(touch${{IFS}}{pwned})`touch${{IFS}}{pwned}`": shouted_courses(github),
        "lint": undescribed_column(github),
        "audit": missing_province(github),
        "budget": three_models(github),
    }
    pulls = [opened(github, branch, files) for branch, files in changes.items()]
    pulls[0].title = TITLE
    started = [actions.pull(pull, "opened") for pull in pulls]
    runs = [actions.finish(one, pull) for one, pull in zip(started, pulls, strict=True)]
    return Story(*(Opened(pull, run) for pull, run in zip(pulls, runs, strict=True)), prod_before=prod)


def opened(github: FakeGitHub, branch: str, files: Files) -> PullRequest:
    github.push(branch, files, author="ann")
    return github.open_pull(branch, author="ann")


def report(github: FakeGitHub, pull: PullRequest) -> str:
    """Our one comment with the plan."""
    [found] = [comment for comment in github.comments_on(pull) if "<!-- meshflow report -->" in comment]
    return found


def test_a_broken_unit_test_fails_a_check_and_builds_nothing(story: Story, github: FakeGitHub) -> None:
    assert story.unit_test.run.jobs == {"admit": "success", "test": "failure"}, story.unit_test.run
    assert "test_each_enrollment_of_a_student_is_a_row_with_its_course" in story.unit_test.run.log
    assert github.checks_of(story.unit_test.pull.head_sha) == {"Admit": "success", "Lint and test": "failure"}


def test_a_lint_error_fails_a_check_and_builds_nothing(story: Story, github: FakeGitHub) -> None:
    assert story.lint.run.jobs == {"admit": "success", "test": "failure"}, story.lint.run
    assert "columnsdescribed" in story.lint.run.log
    assert github.checks_of(story.lint.pull.head_sha) == {"Admit": "success", "Lint and test": "failure"}


def test_a_failing_audit_fails_a_check_and_makes_no_environment(story: Story, github: FakeGitHub) -> None:
    assert story.audit.run.jobs == {"admit": "success", "test": "success", "environment": "failure"}, story.audit.run
    checks = github.checks_of(story.audit.pull.head_sha)
    assert (checks[SYNCED], checks["Build"]) == ("failure", "failure")
    assert BUILT not in checks


def test_too_large_a_plan_fails_a_check_and_builds_nothing(
    story: Story, github: FakeGitHub, warehouse: Warehouse
) -> None:
    assert story.budget.run.steps["Hold the plan to its budget"] == "failure", story.budget.run
    assert "3 models of 2" in story.budget.run.log
    assert code("retail.rpt_net_revenue_by_city") in report(github, story.budget.pull)
    assert github.checks_of(story.budget.pull.head_sha)[BUILT] == "failure"
    assert "RPT_NET_REVENUE_BY_CITY" not in str(tables_written(warehouse.snowflake.statements("CI")))


def test_faulty_pull_requests_have_no_environment(story: Story, warehouse: Warehouse) -> None:
    assert warehouse.environments() == {"prod"}


@pytest.fixture(scope="module")
def fixed(story: Story, github: FakeGitHub, actions: Actions, warehouse: Warehouse) -> set[str]:
    """The tables written for the first pull request, once its unit test expects what it does."""
    before = len(warehouse.snowflake.statements("CI"))
    pull = story.unit_test.pull
    github.push(pull.head, shouted_courses_in_test(github))
    story.unit_test.run = actions.finish(actions.pull(pull, "synchronize"), pull)
    return tables_written(warehouse.snowflake.statements("CI")[before:])


def test_a_fix_turns_it_green_and_builds_only_what_has_changed(
    story: Story, fixed: set[str], github: FakeGitHub, warehouse: Warehouse
) -> None:
    pull = story.unit_test.pull
    assert story.unit_test.run.jobs == {"admit": "success", "test": "success", "environment": "success"}, (
        story.unit_test.run
    )
    checks = github.checks_of(pull.head_sha)
    assert (checks[SYNCED], checks[BUILT]) == ("success", "success")
    assert set(checks.values()) == {"success"}
    assert warehouse.environments() == {"prod", f"pr_{pull.number}"}
    assert fixed == {"EDTECH__RPT_STUDENT_CREDITS"}
    schema = f"EDTECH__PR_{pull.number}"
    assert set(warehouse.snowflake.definitions(schema)) == {f"{schema}.{mart}" for mart in CHANGED}


def test_the_comment_shows_the_plan_and_the_data_diff_without_a_row(
    story: Story, fixed: set[str], github: FakeGitHub, warehouse: Warehouse
) -> None:
    text = report(github, story.unit_test.pull)
    query = "SELECT COUNT(*), COUNT(COURSE_NAME) FROM ANALYTICS.EDTECH.RPT_STUDENT_ENROLLMENTS"
    [(rows, shouted)] = warehouse.snowflake.query(query)
    row = next(
        line for line in text.splitlines() if code("edtech.rpt_student_enrollments") in line and f"{rows:,}" in line
    )
    assert f"| {rows:,} | {rows:,} | 0 | 0 | {shouted:,} | {code('course_name')} {shouted:,} |" in row
    assert story.unit_test.pull.head_sha[:7] in text
    names = warehouse.snowflake.query(
        "SELECT DISTINCT FULL_NAME, COURSE_NAME FROM ANALYTICS.EDTECH.RPT_STUDENT_ENROLLMENTS"
    )
    told = [value for name in names for value in name if value and value in text]
    assert len(names) > 10
    assert not told


def test_the_label_lets_a_large_plan_pass_and_the_comment_is_updated_in_place(
    story: Story, fixed: set[str], github: FakeGitHub, actions: Actions, warehouse: Warehouse
) -> None:
    pull = story.unit_test.pull
    before, comments = report(github, pull), len(github.comments_on(pull))
    github.push(pull.head, three_models(github))
    pull.labels.add("over-budget")
    run = actions.finish(actions.pull(pull, "labeled", label="over-budget"), pull)
    assert run.jobs == {"admit": "success", "test": "success", "environment": "success"}, run
    after = report(github, pull)
    assert len(github.comments_on(pull)) == comments
    assert pull.head_sha[:7] not in before
    assert pull.head_sha[:7] in after
    assert code("retail.rpt_net_revenue_by_city") in after
    assert f"RETAIL__PR_{pull.number}.RPT_NET_REVENUE_BY_CITY" in warehouse.snowflake.definitions(
        f"RETAIL__PR_{pull.number}"
    )


def test_prod_is_as_it_was(story: Story, fixed: set[str], warehouse: Warehouse) -> None:
    assert warehouse.prod() == story.prod_before


def test_neither_branch_name_nor_title_is_read_by_a_shell_or_as_markdown(
    story: Story, fixed: set[str], github: FakeGitHub, pwned: Path
) -> None:
    assert not pwned.exists()
    comments = "\n".join(github.comments_on(story.unit_test.pull))
    assert not re.search(r"<img|@acme|touch\$", comments)


def test_a_fork_gets_no_job(gated: Actions, github: FakeGitHub) -> None:
    github.push("stranger", {"config.yaml": "gateways: {}\n"}, author="stranger")
    pull = github.open_pull("stranger", author="stranger", fork="stranger/meshflow")
    assert gated.pull(pull, "opened").wait().jobs == {}


POISON = "{{ print(env_var('MESHFLOW_STATE_PASSWORD'), env_var('MESHFLOW_SNOWFLAKE_PRIVATE_KEY')) }}"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.yaml", "default_gateway: local", f"default_gateway: local # {POISON}"),
        ("macros/money.py", '"""', 'import os; print(os.environ)\n"""'),
        (
            "models/retail/rpt_net_revenue_by_country.sql",
            "GROUP BY",
            "WHERE @EVAL('open(\"/proc/self/environ\").read()')",
        ),
        (COUNTRY_TEST, "Ontario", POISON),
        (".github/workflows/pr-environment.yml", "permissions: {}", "permissions: write-all"),
    ],
)
def test_what_would_run_code_with_our_keys_waits_for_somebody_to_read_it(
    gated: Actions, github: FakeGitHub, file: str, old: str, new: str
) -> None:
    text = github.git("show", f"main:{file}") + "\n"
    branch = f"poison-{file.replace('/', '-')}"
    github.push(branch, {file: text.replace(old, new, 1)})
    pull = github.open_pull(branch)
    run = gated.finish(gated.pull(pull, "opened"), pull)
    assert run.jobs == {"admit": "failure"}, run
    [comment] = github.comments_on(pull)
    assert code(file) in comment
    assert pull.head_sha in comment
