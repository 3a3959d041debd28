"""From `/deploy` on a pull request to prod and main: deploy.yml, with rejections and failures.

Rejections need no warehouse. The other tests share one prod. Each leaves it equal to main, which the last test checks.
"""

from pathlib import Path

import pytest
from act import git
from changes import Files, added_column, columns_of_country, equivalent_credits
from conftest import Actions
from fake_github import FakeGitHub, PullRequest
from warehouse import Warehouse, built

DEPLOYED = {"gate": "success", "deploy": "success", "rebuild": "success"}
"""The jobs of a deploy."""


def ready(github: FakeGitHub, branch: str, files: Files, *, base: str = "main", fork: str | None = None) -> PullRequest:
    """A pull request by ann, approved by bob, with successful checks."""
    github.push(branch, files, author="ann", start=base)
    pull = github.open_pull(branch, author="ann", base=base, fork=fork)
    approve(github, pull)
    return pull


def approve(github: FakeGitHub, pull: PullRequest) -> None:
    """Approve the current head, and make its checks succeed."""
    github.review(pull, "bob", "APPROVED")
    github.check(pull.head_sha, "ok")
    github.check(pull.head_sha, "PR environment", external_id=pull.base_sha)


REJECTED = {
    "stranger": "has no write access",
    "rita": "has no write access",
    "draft": "the pull request is a draft",
    "closed": "the pull request is closed",
    "fork": "the pull request comes from a fork",
    "release": "the base branch of the pull request is not",
}
"""The commenter, or the fault of the pull request, and the reason in the comment."""


@pytest.mark.parametrize("case", REJECTED)
def test_a_deploy_is_rejected_with_the_reason_in_a_comment(
    offline_actions: Actions, github: FakeGitHub, case: str
) -> None:
    main = github.sha("main")
    if case == "release":
        github.push("release", {"docs/release.md": "A release\n"})
    pull = ready(
        github,
        f"rejected-{case}",
        {"docs/note.md": f"{case}\n"},
        base="release" if case == "release" else "main",
        fork="ann/meshflow" if case == "fork" else None,
    )
    pull.draft = case == "draft"
    pull.state = "closed" if case == "closed" else "open"
    run = offline_actions.comment(pull, case if case in {"stranger", "rita"} else "ann").wait()
    assert run.jobs == {"gate": "failure"}, run
    [comment] = github.comments_on(pull)
    assert REJECTED[case] in comment
    assert not pull.merged
    assert github.sha("main") == main


@pytest.mark.parametrize("body", ["/deployment", "please /deploy", "LGTM"])
def test_other_comments_change_nothing(offline_actions: Actions, github: FakeGitHub, body: str) -> None:
    pull = ready(github, f"comment-{len(body)}", {"docs/note.md": f"{body}\n"})
    run = offline_actions.comment(pull, "ann", body).wait()
    assert "failure" not in run.jobs.values()
    assert "deploy" not in run.jobs
    assert not pull.merged
    assert github.comments_on(pull) == []


def test_a_comment_on_a_plain_issue_starts_no_job(offline_actions: Actions, github: FakeGitHub) -> None:
    assert offline_actions.comment(github.open_issue("A question"), "ann").wait().jobs == {}


def prod_columns(warehouse: Warehouse) -> set[str]:
    """Columns in prod of the mart that the pull requests change."""
    return {row[0] for row in warehouse.snowflake.query("DESCRIBE VIEW ANALYTICS.RETAIL.RPT_NET_REVENUE_BY_COUNTRY")}


def test_a_deploy_promotes_what_was_built_and_starts_the_builds_that_it_has_outdated(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse, tmp_path: Path
) -> None:
    pull = ready(github, "first", added_column(github, "first_count"))
    outdated = ready(github, "outdated", {"docs/note.md": "Outdated\n"})
    reviewed = warehouse.build(github, pull, tmp_path)
    assert f"pr_{pull.number}" in warehouse.environments()
    with warehouse.snowflake.sent() as statements:
        run = actions.comment(pull, "carl").wait()
    assert run.jobs == DEPLOYED, run
    assert built(statements) == set()
    assert "FIRST_COUNT" in prod_columns(warehouse)
    assert pull.merged
    assert github.tree("main") == reviewed
    assert f"pr_{pull.number}" not in warehouse.environments()
    started = {one["number"] for one in github.dispatches}
    assert str(outdated.number) in started
    assert str(pull.number) not in started
    assert any("Deployed and merged" in comment for comment in github.comments_on(pull))


@pytest.fixture(scope="module")
def rejected(github: FakeGitHub, warehouse: Warehouse) -> PullRequest:
    return ready(github, "rejected", added_column(github, "rejected_count"))


def test_a_rejected_merge_rolls_prod_back(
    rejected: PullRequest, actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    main, prod = github.sha("main"), warehouse.prod()
    github.merge_rejections.append("Repository rule violations found")
    with warehouse.snowflake.sent() as statements:
        run = actions.comment(rejected, "ann").wait()
    assert run.jobs == {"gate": "success", "deploy": "failure"}, run
    assert "REJECTED_COUNT" in str(statements)
    assert warehouse.prod() == prod
    assert github.sha("main") == main
    assert any(
        "Repository rule" in comment and "Prod was rolled back" in comment for comment in github.comments_on(rejected)
    )


def test_a_push_during_a_deploy_is_not_merged_and_rolls_prod_back(
    rejected: PullRequest, actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    main, prod = github.sha("main"), warehouse.prod()
    github.when(
        f"PUT /pulls/{rejected.number}/merge", lambda: github.push(rejected.head, {"docs/late.md": "Not reviewed\n"})
    )
    run = actions.comment(rejected, "ann").wait()
    assert run.jobs == {"gate": "success", "deploy": "failure"}, run
    assert warehouse.prod() == prod
    assert github.sha("main") == main
    assert not rejected.merged
    assert "Head branch was modified" in "\n".join(github.comments_on(rejected))


def test_the_next_run_repairs_the_drift_of_a_killed_deploy_and_reports_it(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    pull = ready(github, "killed", added_column(github, "killed_count"))
    main = github.sha("main")
    started = actions.comment(pull, "ann")
    assert started.wait_for(lambda: "KILLED_COUNT" in prod_columns(warehouse)), started.wait()
    started.kill()
    assert github.sha("main") == main
    assert any("is being deployed" in comment for comment in github.comments_on(pull))
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"load": "success", "run": "success", "alert": "success"}, run
    assert "so it was planned again" in run.summary
    assert prod_columns(warehouse) == columns_of_country(github)


def test_the_second_of_two_simultaneous_deploys_waits_and_is_then_rejected(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    pulls = [
        ready(github, "one", added_column(github, "one_count")),
        ready(github, "other", equivalent_credits(github)),
    ]
    started = [actions.comment(pull, "ann") for pull in pulls]
    runs = [one.wait() for one in started]
    assert sorted(run.jobs["deploy"] for run in runs) == ["failure", "success"], runs
    assert [pull.merged for pull in pulls] == [run.jobs["deploy"] == "success" for run in runs]
    late = next(pull for pull in pulls if not pull.merged)
    assert any("has moved on since" in comment for comment in github.comments_on(late))
    assert prod_columns(warehouse) == columns_of_country(github)


def test_a_deploy_and_a_run_never_change_prod_at_once(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    pull = ready(github, "race", added_column(github, "race_count"))
    deploy, cron = actions.comment(pull, "ann"), actions.cron("run.yml")
    run = cron.wait()
    assert deploy.wait().jobs == DEPLOYED
    # GitHub would queue them. Here only the lock separates them: a deploy waits for it, a run doesn't.
    if run.jobs != {"load": "success", "run": "success", "alert": "success"}:
        assert f"Nothing was run: prod is locked by deploy #{pull.number} on " in run.log, run
    assert pull.merged
    assert prod_columns(warehouse) == columns_of_country(github)


def test_prod_matches_main_after_all_deploys(github: FakeGitHub, warehouse: Warehouse) -> None:
    git("pull", "--quiet", "origin", "main", at=warehouse.main)
    warehouse.sqlmesh("diff", "prod")  # fails if there is a difference
