"""Decides whether a pull request may go to production.

The job `gate` decides it without production secrets; the job `deploy` decides it again with them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import click
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.github import BRANCH, code, connect, event, run_url, sticky_comment, write_outputs
from meshflow.ci.owners import missing_owners
from meshflow.ci.reviews import Reviews, has_write_access, read_reviews

if TYPE_CHECKING:
    from github.CheckRun import CheckRun
    from github.GithubApp import GithubApp

CI_CHECK, BUILD_CHECK = "ok", "PR environment"
"""Checks that must have succeeded on the head: the last job of ci.yml, and the one that create_build_check() makes.
"""

HELD = "action_required"
"""Conclusion of BUILD_CHECK while the pull request waits for approvals: admit() sets it, rebuild() reads it."""

WORKFLOWS = ".github/workflows/"

MAX_COMMITS = 250
"""Commits of a pull request that GitHub lists at most."""

MAX_FILES = 3_000
"""GitHub lists no more changed files of a pull request."""


@dataclass(frozen=True)
class DeployCommand:
    """A new comment `/deploy` on a pull request."""

    number: int
    user: str
    is_person: bool
    """False for an app, and for an account that was deleted since."""

    @classmethod
    def from_event(cls, payload: dict[str, Any]) -> Self | None:
        """None for everything else: other events, other comments, edits, plain issues."""
        comment, issue = payload.get("comment"), payload.get("issue", {})
        if not comment or payload.get("action") != "created" or not issue.get("pull_request"):
            return None
        if (comment["body"] or "").strip() != "/deploy":
            return None
        user = comment["user"] or {"login": "ghost", "type": "Deleted"}
        return cls(issue["number"], user["login"], user["type"] == "User")


def gate(approvals: int) -> None:
    """Write the output `sha` if the event is an acceptable `/deploy`, nothing if it is no `/deploy`.

    Raises click.ClickException with every reason for a rejection; they are commented on the pull request too.
    """
    command = DeployCommand.from_event(event())
    if not command:
        click.echo("The event is not a new comment `/deploy` on a pull request: nothing to do")
        return
    repository = connect()
    pull = repository.get_pull(command.number)
    raise_if_rejected(repository, command, pull, rejection_reasons(repository, command, pull, approvals))
    accepted = f"`/deploy` by {code(command.user)} was accepted for commit `{pull.head.sha}`. [Run]({run_url()})"
    sticky_comment(repository, pull.number, "gate", accepted, only_update=True)
    write_outputs(sha=pull.head.sha)


def raise_if_rejected(repository: Repository, command: DeployCommand, pull: PullRequest, reasons: list[str]) -> None:
    """Comment the `reasons` against a deploy on the pull request. Raises click.ClickException if there is any."""
    if reasons:
        listed = "\n".join(f"- {reason}" for reason in reasons)
        body = f"`/deploy` by {code(command.user)} was rejected. Nothing has changed.\n\n{listed}\n\n[Run]({run_url()})"
        sticky_comment(repository, pull.number, "gate", body)
        raise click.ClickException(f"Pull request {pull.number} may not be deployed: {'; '.join(reasons)}")


def rejection_reasons(repository: Repository, command: DeployCommand, pull: PullRequest, approvals: int) -> list[str]:
    """Every reason, in Markdown, why `pull` may not be deployed in its current state."""
    sha = pull.head.sha
    if reason := too_many_commits(pull):
        return [reason]
    reviews = read_reviews(repository, pull, sha)
    files = [name for file in pull.get_files() for name in (file.filename, file.previous_filename) if name]
    allowed = command.is_person and has_write_access(repository, command.user)
    is_fork = not is_same_repository(repository, pull)
    reasons = {
        f"{code(command.user)} has no write access to this repository": not allowed,
        "the pull request comes from a fork, and code of forks never gets production secrets": is_fork,
        "the pull request is already merged" if pull.merged else "the pull request is closed": pull.state != "open",
        "the pull request is a draft": pull.draft,
        f"the base branch of the pull request is not {code(BRANCH)}": pull.base.ref != BRANCH,
        conflict_reason(): pull.mergeable is False,
        f"the pull request changes {code(WORKFLOWS)}, which a job may not merge: "
        "merge those files by hand, in a pull request of their own": any(name.startswith(WORKFLOWS) for name in files),
        f"the pull request changes more than {MAX_FILES:,} files, and GitHub lists no more": pull.changed_files
        > MAX_FILES,
        f"changes are requested by {_format_logins(reviews.change_requesters)}": reviews.change_requesters,
        approval_reason(sha, reviews, approvals): len(reviews.approvers) < max(approvals, reviews.required),
    }
    found = [reason for reason, applies in reasons.items() if applies]
    return found + missing_owners(repository, pull, files, reviews.approvers) + _failing_checks(repository, sha)


def too_many_commits(pull: PullRequest) -> str:
    """Why no approval can count, in Markdown; empty if GitHub lists all commits, and so all authors."""
    if pull.commits <= MAX_COMMITS:
        return ""
    return f"the pull request has more than {MAX_COMMITS} commits, and GitHub lists no more: squash them"


def approval_reason(sha: str, reviews: Reviews, approvals: int = 1) -> str:
    """How many approvals commit `sha` has, how many it needs, and which count. Markdown."""
    required = max(approvals, reviews.required)
    two = " Two are needed because no person is known to have pushed the commit."
    return (
        f"commit `{sha}` is approved by {len(reviews.approvers)} of {required} people with write access other than its "
        "authors and pushers; approvals of earlier commits, or for another base branch, don't count."
        + (two if approvals < reviews.required else "")
    ).removesuffix(".")


def conflict_reason() -> str:
    return f"the pull request conflicts with {code(BRANCH)}"


def is_same_repository(repository: Repository, pull: PullRequest) -> bool:
    """Whether the branch is in this repository. A fork may have been deleted or renamed."""
    # PyGithub's type has no None for a deleted fork.
    head_repository: Repository | None = pull.head.repo
    return head_repository is not None and head_repository.full_name == repository.full_name


def get_main_sha(repository: Repository) -> str:
    """The newest commit of main."""
    return repository.get_git_ref(f"heads/{BRANCH}").object.sha


def create_build_check(repository: Repository, head: str, main: str, conclusion: str, summary: str) -> None:
    """Create a check run on commit `head`: the conclusion of building it merged with commit `main`.

    gate() reads both, `main` from the external id.
    """
    repository.create_check_run(
        BUILD_CHECK,
        head,
        external_id=main,
        status="completed",
        conclusion=conclusion,
        details_url=run_url(),
        output={"title": f"{BUILD_CHECK}: {conclusion}", "summary": summary},
    )


def newest_checks(repository: Repository, sha: str) -> dict[str, "CheckRun"]:
    """The newest check run of each name on commit `sha`, of GitHub Actions: other apps may use the same names."""
    newest: dict[str, CheckRun] = {}
    for run in repository.get_commit(sha).get_check_runs():
        # PyGithub's type has no None for the app of a check run.
        app: GithubApp | None = run.app
        if app and app.slug == "github-actions" and (run.name not in newest or run.id > newest[run.name].id):
            newest[run.name] = run
    return newest


def _failing_checks(repository: Repository, sha: str) -> list[str]:
    newest = newest_checks(repository, sha)
    reasons = []
    for name in (CI_CHECK, BUILD_CHECK):
        state = (newest[name].conclusion or newest[name].status) if name in newest else "missing"
        if state != "success":
            reasons.append(f"check `{name}` of commit `{sha}` is {state}")
        elif name == BUILD_CHECK and newest[name].external_id != get_main_sha(repository):
            reasons.append(
                f"the environment was built with commit `{newest[name].external_id}` of {code(BRANCH)}, which is no "
                "longer the newest: wait for its next build, or re-run the workflow PR environment"
            )
    return reasons


def _format_logins(logins: list[str]) -> str:
    return ", ".join(code(login) for login in logins)
