"""Which pull requests may be built with credentials and which may be deployed: `meshflow ci admit` and `gate`."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_github import FakeGitHub, Job, PullRequest

from meshflow.ci.github import code
from meshflow.cli import main

MODEL = "MODEL (name retail.fct_sales);\nSELECT 1 AS a\n"
TOKEN = "the-token-of-the-job"  # noqa: S105 - FakeGitHub's


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGitHub]:
    """A repository in which bob and carl may write, and ann's branch `feature` changes a model."""
    with FakeGitHub(tmp_path / "origin.git") as github:
        github.roles = {"ann": "write", "bob": "write", "carl": "maintain", "rita": "triage", "root": "admin"}
        github.push("main", {"README.md": "A warehouse.\n", "config.yaml": "gateways:\n"}, author="root")
        github.push("feature", {"models/retail/fct_sales.sql": MODEL})
        yield github
    assert not github.internal_errors


@pytest.fixture
def pull(github: FakeGitHub) -> PullRequest:
    """Open, all checks successful, approved by bob: it may be deployed."""
    pull = github.open_pull("feature")
    pass_checks(github, pull)
    github.review(pull, "bob", "APPROVED")
    return pull


def pass_checks(github: FakeGitHub, pull: PullRequest) -> None:
    github.check(pull.head_sha, "ok")
    github.check(pull.head_sha, "PR environment", external_id=pull.base_sha)


def run(job: Job, *arguments: str) -> Result:
    result = CliRunner(env=job.environment).invoke(main, ["ci", *arguments])
    assert TOKEN not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def gate(  # noqa: PLR0913 - what a comment has
    github: FakeGitHub,
    pull: PullRequest,
    tmp_path: Path,
    *,
    user: str = "bob",
    body: str = "/deploy",
    approvals: int = 1,
) -> tuple[Result, Job]:
    job = github.job(github.comment_event(pull, body, user=user), tmp_path / "job")
    return run(job, "gate", "--approvals", str(approvals)), job


def assert_rejected(github: FakeGitHub, pull: PullRequest, tmp_path: Path, reason: str, **options: str | int) -> None:
    """The gate fails with one comment that contains the reason, and writes no output."""
    result, job = gate(github, pull, tmp_path, **options)  # type: ignore[arg-type]
    assert result.exit_code == 1, result.output
    assert job.outputs == {}
    (comment,) = github.comments_on(pull)
    assert reason in comment
    assert reason in result.output.replace("\n", " ")


# /deploy


def test_an_approved_pull_request_passes_the_gate(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    result, job = gate(github, pull, tmp_path)
    assert result.exit_code == 0, result.output
    assert job.outputs == {"sha": pull.head_sha}
    assert github.comments_on(pull) == []


@pytest.mark.parametrize("body", ["/deploy\r\n", "  /deploy \n\n"])
def test_white_space_around_the_command_does_not_matter(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path, body: str
) -> None:
    assert gate(github, pull, tmp_path, body=body)[1].outputs["sha"] == pull.head_sha


@pytest.mark.parametrize("body", ["/deploy now", "please /deploy", "/Deploy", "> /deploy", "/deploy\n/deploy", ""])
def test_any_other_comment_does_nothing(github: FakeGitHub, pull: PullRequest, tmp_path: Path, body: str) -> None:
    result, job = gate(github, pull, tmp_path, body=body)
    assert (result.exit_code, job.outputs, github.calls) == (0, {}, [])


@pytest.mark.parametrize("action", ["edited", "deleted"])
def test_a_comment_that_was_edited_into_the_command_does_nothing(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path, action: str
) -> None:
    job = github.job(github.comment_event(pull, "/deploy", user="bob", action=action), tmp_path / "job")
    assert run(job, "gate").exit_code == 0
    assert (job.outputs, github.calls) == ({}, [])


def test_a_comment_on_a_plain_issue_does_nothing(github: FakeGitHub, tmp_path: Path) -> None:
    issue = github.open_issue("A question")
    job = github.job(github.comment_event(issue, "/deploy", user="bob"), tmp_path / "job")
    assert run(job, "gate").exit_code == 0
    assert (job.outputs, github.calls) == ({}, [])


@pytest.mark.parametrize("user", ["stranger", "rita", "evil[bot]"])
def test_users_without_write_access_may_not_deploy(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path, user: str
) -> None:
    github.roles["evil[bot]"] = "admin"
    assert_rejected(github, pull, tmp_path, f"{code(user)} has no write access", user=user)


@pytest.mark.parametrize("user", ["carl", "root", "ann"])
def test_maintainers_admins_and_the_author_may_deploy(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path, user: str
) -> None:
    assert gate(github, pull, tmp_path, user=user)[0].exit_code == 0


def test_a_draft_is_rejected(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    pull.draft = True
    assert_rejected(github, pull, tmp_path, "the pull request is a draft")


def test_a_closed_pull_request_is_rejected(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    pull.state = "closed"
    assert_rejected(github, pull, tmp_path, "the pull request is closed")


def test_another_base_branch_is_rejected(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    github.push("release", {"x": "y"})
    pull.base = "release"
    assert_rejected(github, pull, tmp_path, "the base branch of the pull request is not")


@pytest.mark.parametrize("fork", ["mallory/meshflow", None], ids=["existing", "deleted"])
def test_a_fork_is_rejected(github: FakeGitHub, pull: PullRequest, tmp_path: Path, fork: str | None) -> None:
    pull.head_repository = fork
    assert_rejected(github, pull, tmp_path, "from a fork")


def test_a_conflict_is_rejected(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    github.push("main", {"models/retail/fct_sales.sql": "SELECT 2\n"})
    assert_rejected(github, pull, tmp_path, "the pull request conflicts with")


def test_the_gate_ignores_branch_protection_because_its_token_may_not_merge(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    pull.blocked = True
    assert gate(github, pull, tmp_path)[0].exit_code == 0


def test_a_change_of_workflows_is_rejected_because_no_job_may_merge_it(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    github.push("feature", {".github/workflows/new.yml": "on: push\n"})
    assert_rejected(github, pull, tmp_path, "which a job may not merge")


def test_an_environment_built_with_an_older_commit_of_main_is_rejected(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    github.push("main", {"other.md": "text"})
    assert_rejected(github, pull, tmp_path, "which is no longer the newest: wait for its next build")


def test_a_push_while_the_gate_checks_is_not_accepted(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    sha = pull.head_sha
    github.when("GET /pulls/1/reviews", lambda: github.push("feature", {"macros/evil.py": "import os"}))
    _, job = gate(github, pull, tmp_path)
    assert job.outputs == {"sha": sha}, "the commit that deploy requires"


def test_an_approval_of_an_earlier_commit_does_not_count(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    github.push("feature", {"models/retail/fct_sales.sql": MODEL + "-- more\n"})
    pull = github.open_pull("feature")
    github.review(pull, "bob", "APPROVED", commit=github.git("rev-parse", f"{pull.head_sha}^"))
    pass_checks(github, pull)
    assert_rejected(github, pull, tmp_path, "approved by 0 of 1")


@pytest.mark.parametrize("user", ["ann", "stranger", "rita", "evil[bot]"])
def test_approvals_by_the_author_by_readers_and_by_bots_do_not_count(
    github: FakeGitHub, tmp_path: Path, user: str
) -> None:
    pull = github.open_pull("feature")
    pass_checks(github, pull)
    github.review(pull, user, "APPROVED")
    assert_rejected(github, pull, tmp_path, "approved by 0 of 1")


def test_the_author_of_a_commit_can_not_approve_it(github: FakeGitHub, tmp_path: Path) -> None:
    github.push("feature", {"models/retail/fct_sales.sql": MODEL + "-- more\n"}, author="bob")
    pull = github.open_pull("feature", author="ann")
    pass_checks(github, pull)
    github.review(pull, "bob", "APPROVED")
    assert_rejected(github, pull, tmp_path, "approved by 0 of 1", user="ann")


def test_the_pusher_of_a_commit_by_another_author_can_not_approve_it(github: FakeGitHub, tmp_path: Path) -> None:
    github.push("feature", {"models/retail/fct_sales.sql": f"{MODEL} -- 2"}, author="ann", pusher="bob")
    pull = github.open_pull("feature")
    pass_checks(github, pull)
    github.review(pull, "bob", "APPROVED")
    assert_rejected(github, pull, tmp_path, "approved by 0 of 1", user="carl")


def test_two_approvals_by_one_person_count_once(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    github.review(pull, "bob", "APPROVED")
    assert_rejected(github, pull, tmp_path, "approved by 1 of 2", approvals=2)


def test_requested_changes_withdraw_an_earlier_approval(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    github.review(pull, "carl", "APPROVED")
    github.review(pull, "bob", "CHANGES_REQUESTED")
    assert_rejected(github, pull, tmp_path, f"changes are requested by {code('bob')}")


def test_requested_changes_stay_in_force_after_later_commits_and_comments(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    github.review(pull, "carl", "CHANGES_REQUESTED", commit=github.sha("main"))
    github.review(pull, "carl", "COMMENTED")
    assert_rejected(github, pull, tmp_path, f"changes are requested by {code('carl')}")


def test_an_approval_after_requested_changes_counts(github: FakeGitHub, tmp_path: Path) -> None:
    pull = github.open_pull("feature")
    pass_checks(github, pull)
    github.review(pull, "bob", "CHANGES_REQUESTED")
    github.review(pull, "bob", "APPROVED")
    github.review(pull, "bob", "COMMENTED")
    assert gate(github, pull, tmp_path)[0].exit_code == 0


def test_a_dismissed_approval_does_not_count(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    pull.reviews[0].state = "DISMISSED"
    assert_rejected(github, pull, tmp_path, "approved by 0 of 1")


def test_requested_changes_by_a_stranger_do_not_count(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    github.review(pull, "stranger", "CHANGES_REQUESTED")
    assert gate(github, pull, tmp_path)[0].exit_code == 0


def test_reviews_beyond_the_first_page_count(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    for _ in range(120):
        github.review(pull, "stranger", "COMMENTED")
    github.review(pull, "carl", "CHANGES_REQUESTED")
    assert_rejected(github, pull, tmp_path, f"changes are requested by {code('carl')}")


@pytest.mark.parametrize("name", ["ok", "PR environment"])
@pytest.mark.parametrize("conclusion", ["failure", "cancelled", "skipped", None])
def test_the_newest_run_of_each_check_has_to_have_succeeded(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path, name: str, conclusion: str | None
) -> None:
    github.check(pull.head_sha, name, conclusion)
    assert_rejected(
        github, pull, tmp_path, f"check `{name}` of commit `{pull.head_sha}` is {conclusion or 'in_progress'}"
    )


def test_a_check_of_another_app_does_not_count(github: FakeGitHub, tmp_path: Path) -> None:
    pull = github.open_pull("feature")
    github.review(pull, "bob", "APPROVED")
    pass_checks(github, pull)
    github.checks.pop(0)
    github.check(pull.head_sha, "ok", app="mallory")
    assert_rejected(github, pull, tmp_path, "check `ok` of commit")


def test_one_comment_lists_every_reason_and_is_updated_until_the_deploy_is_accepted(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    pull.draft, pull.head_repository = True, "mallory/meshflow"
    assert_rejected(github, pull, tmp_path, "the pull request is a draft", user="stranger")
    assert "from a fork" in github.comments_on(pull)[0]
    pull.head_repository = github.repository
    second = github.job(github.comment_event(pull, "/deploy", user="bob"), tmp_path / "second")
    assert run(second, "gate").exit_code == 1
    assert "from a fork" not in github.comments_on(pull)[0]
    pull.draft = False
    third = github.job(github.comment_event(pull, "/deploy", user="bob"), tmp_path / "third")
    assert run(third, "gate").exit_code == 0
    (comment,) = github.comments_on(pull)
    assert "was accepted" in comment


def test_a_comment_of_another_author_with_our_marker_is_not_changed(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    github.comment(pull, "<!-- meshflow gate -->\nmine", user="mallory")
    pull.draft = True
    assert_rejected(github, pull, tmp_path, "the pull request is a draft")
    assert github.comments_on(pull, "mallory") == ["<!-- meshflow gate -->\nmine"]


def test_a_missing_variable_is_named(github: FakeGitHub, pull: PullRequest, tmp_path: Path) -> None:
    job = github.job(github.comment_event(pull, "/deploy", user="bob"), tmp_path / "job")
    job.environment["GITHUB_TOKEN"] = ""
    assert "GITHUB_TOKEN isn't set" in run(job, "gate").output


def test_an_error_response_of_github_is_printed_as_one_line(
    github: FakeGitHub, pull: PullRequest, tmp_path: Path
) -> None:
    job = github.job(github.comment_event(pull, "/deploy", user="bob"), tmp_path / "job")
    job.environment["GITHUB_REPOSITORY"] = "acme/gone"
    assert run(job, "gate").output == "Error: GitHub returned 404: Not Found\n"


# pr-environment.yml


def admit(
    github: FakeGitHub, pull: PullRequest, folder: Path, event: dict[str, Any] | None = None
) -> tuple[Result, Job]:
    """`meshflow ci admit` on the head of the event, checked out as in the workflow."""
    job = github.job(event or github.pull_event(pull, "synchronize"), folder)
    change = folder / "change"
    subprocess.run(["git", "clone", "-q", github.git_dir, change], check=True)  # noqa: S607
    subprocess.run(["git", "-C", change, "checkout", "-q", pull.head_sha], check=True)  # noqa: S607
    return run(job, "admit", "--path", str(change)), job


def assert_held(github: FakeGitHub, pull: PullRequest, folder: Path, reason: str) -> None:
    """The pull request waits for approvals: a comment has the reason, a check requires action, nothing is built."""
    result, job = admit(github, pull, folder / "held")
    assert (result.exit_code, job.outputs) == (0, {}), result.output
    assert github.checks_of(pull.head_sha)["PR environment"] == "action_required"
    (comment,) = github.comments_on(pull)
    assert reason in comment


def test_a_change_of_models_is_admitted_without_a_comment(github: FakeGitHub, tmp_path: Path) -> None:
    pull = github.open_pull("feature", draft=True)
    result, job = admit(github, pull, tmp_path / "job")
    assert result.exit_code == 0, result.output
    assert job.outputs == {"sha": pull.head_sha, "main": github.sha("main"), "documents_only": "false"}
    change = tmp_path / "job" / "change"
    assert (change / "models/retail/fct_sales.sql").exists()
    assert (change / "README.md").read_text() == "A warehouse.\n"
    assert github.comments_on(pull) == []


def test_a_public_repository_builds_no_model_before_an_approval(github: FakeGitHub, tmp_path: Path) -> None:
    github.is_private = False
    pull = github.open_pull("feature")
    assert_held(github, pull, tmp_path, "everybody can read the result")
    github.review(pull, "bob", "APPROVED")
    assert admit(github, pull, tmp_path / "approved")[1].outputs["sha"] == pull.head_sha
    github.push("documents", {"README.md": "A lakehouse.\n"})
    pull = github.open_pull("documents")
    assert admit(github, pull, tmp_path / "documents")[1].outputs["documents_only"] == "true"


@pytest.mark.parametrize("fork", ["mallory/meshflow", None], ids=["existing", "deleted"])
def test_a_fork_is_not_admitted_and_gets_a_comment_with_the_reason(
    github: FakeGitHub, tmp_path: Path, fork: str | None
) -> None:
    pull = github.open_pull("feature")
    pull.head_repository = fork
    result, job = admit(github, pull, tmp_path / "job")
    assert (result.exit_code, job.outputs) == (0, {})
    (comment,) = github.comments_on(pull)
    assert "from a fork" in comment


@pytest.mark.parametrize("change", [{"base": "release"}, {"state": "closed"}], ids=str)
def test_a_closed_pull_request_or_one_to_another_base_is_not_admitted(
    github: FakeGitHub, tmp_path: Path, change: dict[str, str]
) -> None:
    github.push("release", {"x": "y"})
    pull = github.open_pull("feature")
    for name, value in change.items():
        setattr(pull, name, value)
    result, job = admit(github, pull, tmp_path / "job")
    assert (result.exit_code, job.outputs) == (0, {})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("config.yaml", "gateways: {{ env_var('MESHFLOW_SNOWFLAKE_PRIVATE_KEY') }}"),
        ("models/retail/fct_sales.sql", "MODEL (name retail.fct_sales); JINJA_QUERY_BEGIN; SELECT 1; JINJA_END;"),
        ("macros/`</code><img src=x onerror=1>|@everyone #1 $(id).py", "import os"),
    ],
)
def test_a_change_that_could_execute_code_is_admitted_after_a_second_person_has_approved_it(
    github: FakeGitHub, tmp_path: Path, path: str, text: str
) -> None:
    github.push("change", {path: text})
    pull = github.open_pull("change", title="$(id) `id` <img src=x> @everyone")
    github.review(pull, "ann", "APPROVED")
    github.review(pull, "bob", "APPROVED", commit=github.sha("main"))
    result, job = admit(github, pull, tmp_path / "job")
    assert (result.exit_code, job.outputs) == (0, {}), result.output
    assert github.checks_of(pull.head_sha) == {"PR environment": "action_required"}
    (comment,) = github.comments_on(pull)
    assert code(path) in comment
    assert f"approve commit `{pull.head_sha}`" in comment
    assert pull.title not in comment

    github.review(pull, "bob", "APPROVED")
    result, job = admit(github, pull, tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert job.outputs["sha"] == pull.head_sha
    (comment,) = github.comments_on(pull)
    assert "is being built" in comment


def test_requested_changes_block_a_build_that_another_reviewer_has_approved(github: FakeGitHub, tmp_path: Path) -> None:
    github.push("change", {"config.yaml": "gateways: evil\n"})
    pull = github.open_pull("change")
    github.review(pull, "bob", "APPROVED")
    github.review(pull, "carl", "CHANGES_REQUESTED")
    assert_held(github, pull, tmp_path, f"changes are requested by {code('carl')}")


def test_a_commit_pushed_during_admit_is_not_admitted(github: FakeGitHub, tmp_path: Path) -> None:
    pull = github.open_pull("feature")
    github.when("GET /pulls/1$", lambda: github.push("feature", {"macros/evil.py": "import os"}))
    result, job = admit(github, pull, tmp_path / "job")
    assert (result.exit_code, job.outputs) == (0, {}), result.output


def test_admit_merges_the_pull_request_with_the_newest_main(github: FakeGitHub, tmp_path: Path) -> None:
    pull = github.open_pull("feature")
    newest = github.push("main", {"README.md": "A larger warehouse.\n"})
    _, job = admit(github, pull, tmp_path / "job")
    assert job.outputs["main"] == newest
    assert (tmp_path / "job/change/README.md").read_text() == "A larger warehouse.\n"


def test_a_conflict_is_not_admitted(github: FakeGitHub, tmp_path: Path) -> None:
    pull = github.open_pull("feature")
    github.push("main", {"models/retail/fct_sales.sql": "SELECT 2\n"})
    result, job = admit(github, pull, tmp_path / "job")
    assert (result.exit_code, job.outputs) == (1, {})
    (comment,) = github.comments_on(pull)
    assert "the pull request conflicts with" in comment
