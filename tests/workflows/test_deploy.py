"""From `/deploy` on a pull request to prod and main: deploy.yml, and whatever may come in its way.

Rejections need no warehouse. The rest is one story of prod: each test leaves it equal to main, and the last one looks.
"""

from html import unescape
from pathlib import Path

import pytest
from act import git
from changes import Files, another_column, columns_of_country, credits_anew
from conftest import Actions
from fake_github import FakeGitHub, PullRequest
from warehouse import Warehouse
from workspace import table_writes


def ready(github: FakeGitHub, branch: str, files: Files, *, base: str = "main", fork: str | None = None) -> PullRequest:
    """A pull request of ann's, approved by bob, with all checks green."""
    github.push(branch, files, author="ann", start=base)
    pull = github.open_pull(branch, author="ann", base=base, fork=fork)
    green(github, pull)
    return pull


def green(github: FakeGitHub, pull: PullRequest) -> None:
    """Approve it as it stands, and let all checks succeed."""
    github.review(pull, "bob", "APPROVED")
    github.check(pull.head_sha, "ok")
    github.check(pull.head_sha, "PR environment", external_id=pull.base_sha)


REJECTED = {
    "stranger": "may not write",
    "rita": "may not write",
    "draft": "it is a draft",
    "closed": "it is closed",
    "fork": "it comes from a fork",
    "release": "it goes to another branch",
}
"""Who asks, or what is wrong with the pull request; and what it then says."""


@pytest.mark.parametrize("case", REJECTED)
def test_deploy_is_rejected_and_the_pull_request_says_why(gated: Actions, github: FakeGitHub, case: str) -> None:
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
    run = gated.comment(pull, case if case in {"stranger", "rita"} else "ann").wait()
    assert run.jobs == {"gate": "failure"}, run
    [comment] = github.comments_on(pull)
    assert REJECTED[case] in comment
    assert not pull.merged
    assert github.sha("main") == main


@pytest.mark.parametrize("body", ["/deployment", "please /deploy", "LGTM"])
def test_other_comments_change_nothing(gated: Actions, github: FakeGitHub, body: str) -> None:
    pull = ready(github, f"comment-{len(body)}", {"docs/note.md": f"{body}\n"})
    run = gated.comment(pull, "ann", body).wait()
    assert "failure" not in run.jobs.values()
    assert "deploy" not in run.jobs
    assert not pull.merged
    assert github.comments_on(pull) == []


def test_a_comment_on_a_plain_issue_starts_no_job(gated: Actions, github: FakeGitHub) -> None:
    assert gated.comment(github.open_issue("A question"), "ann").wait().jobs == {}


def deployed(warehouse: Warehouse) -> set[str]:
    """Columns of the mart that the pull requests change, as prod has it."""
    return {row[0] for row in warehouse.snowflake.query("DESCRIBE VIEW ANALYTICS.RETAIL.RPT_NET_REVENUE_BY_COUNTRY")}


def test_a_writer_deploys_without_writing_a_row(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse, tmp_path: Path
) -> None:
    pull = ready(github, "first", another_column(github, "first_count"))
    reviewed = warehouse.build(github, pull, tmp_path)
    assert f"pr_{pull.number}" in warehouse.environments()
    with warehouse.snowflake.sent() as statements:
        run = actions.comment(pull, "carl").wait()
    assert run.jobs == {"gate": "success", "deploy": "success"}, run
    assert table_writes(statements) == []
    assert "FIRST_COUNT" in deployed(warehouse)
    assert pull.merged
    assert github.tree("main") == reviewed
    assert f"pr_{pull.number}" not in warehouse.environments()
    assert github.checks_of(pull.head_sha)["SQLMesh - Prod Environment Synced"] == "success"
    assert any("Deployed and merged" in comment for comment in github.comments_on(pull))


@pytest.fixture(scope="module")
def rejected(github: FakeGitHub, warehouse: Warehouse) -> PullRequest:
    return ready(github, "rejected", another_column(github, "rejected_count"))


def test_a_rejected_merge_takes_prod_back(
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
        "Repository rule" in unescape(comment) and "Prod is back" in comment for comment in github.comments_on(rejected)
    )


def test_what_is_pushed_during_a_deploy_is_not_merged_and_takes_prod_back(
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
    assert "Head branch was modified" in unescape("\n".join(github.comments_on(rejected)))


def test_a_killed_deploy_is_healed_by_the_next_run_which_says_so(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    pull = ready(github, "killed", another_column(github, "killed_count"))
    main = github.sha("main")
    started = actions.comment(pull, "ann")
    assert started.wait_for(lambda: "KILLED_COUNT" in deployed(warehouse)), started.wait()
    started.kill()
    assert github.sha("main") == main
    assert any("is being deployed" in comment for comment in github.comments_on(pull))
    run = actions.cron("run.yml").wait()
    assert run.jobs == {"run": "success", "alert": "success"}, run
    assert "so it was planned again" in run.summary
    assert deployed(warehouse) == columns_of_country(github)


def test_of_two_deploys_at_once_one_waits_and_then_has_to_be_asked_again(
    actions: Actions, github: FakeGitHub, warehouse: Warehouse
) -> None:
    pulls = [
        ready(github, "one", another_column(github, "one_count")),
        ready(github, "other", credits_anew(github)),
    ]
    started = [actions.comment(pull, "ann") for pull in pulls]
    runs = [one.wait() for one in started]
    assert sorted(run.jobs["deploy"] for run in runs) == ["failure", "success"], runs
    assert [pull.merged for pull in pulls] == [run.jobs["deploy"] == "success" for run in runs]
    late = next(pull for pull in pulls if not pull.merged)
    assert any("has moved on since" in comment for comment in github.comments_on(late))
    assert deployed(warehouse) == columns_of_country(github)


def test_a_deploy_and_a_run_do_not_meet(actions: Actions, github: FakeGitHub, warehouse: Warehouse) -> None:
    pull = ready(github, "race", another_column(github, "race_count"))
    deploy, cron = actions.comment(pull, "ann"), actions.cron("run.yml")
    run = cron.wait()
    assert deploy.wait().jobs == {"gate": "success", "deploy": "success"}
    # On GitHub the one queues behind the other. Here there is the lock alone: a deploy waits for it, a run doesn't.
    if run.jobs != {"run": "success", "alert": "success"}:
        assert f"Nothing done: prod is with deploy #{pull.number} on " in run.log, run
    assert pull.merged
    assert deployed(warehouse) == columns_of_country(github)


def test_in_the_end_prod_is_what_main_says(github: FakeGitHub, warehouse: Warehouse) -> None:
    git("pull", "--quiet", "origin", "main", at=warehouse.main)
    warehouse.sqlmesh("diff", "prod")  # fails if there is a difference
