"""Decides whether a pull request may go to production.

The job `gate` decides it without production secrets; the job `deploy` decides it again with them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import click
from github import UnknownObjectException
from github.NamedUser import NamedUser
from github.PaginatedList import PaginatedList
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.github import BRANCH, code, connect, event, run_url, sticky_comment, write_outputs

if TYPE_CHECKING:
    from github.CheckRun import CheckRun
    from github.PullRequestReview import PullRequestReview

CI_CHECK, BUILD_CHECK = "ok", "PR environment"
"""Checks that must have succeeded on the head: the last job of ci.yml, and the one that create_build_check() makes.

The bot's own check is not enough: the bot sets it on the head at its start, whatever commit was checked out.
"""

WORKFLOWS = ".github/workflows/"


@dataclass(frozen=True)
class DeployCommand:
    """A new comment `/deploy` on a pull request."""

    number: int
    user: str
    is_bot: bool

    @classmethod
    def from_event(cls, payload: dict[str, Any]) -> Self | None:
        """None for everything else: other events, other comments, edits, plain issues."""
        comment, issue = payload.get("comment"), payload.get("issue", {})
        if not comment or payload.get("action") != "created" or not issue.get("pull_request"):
            return None
        if (comment["body"] or "").strip() != "/deploy":
            return None
        return cls(issue["number"], comment["user"]["login"], comment["user"]["type"] == "Bot")


@dataclass(frozen=True)
class Reviews:
    """The latest decision of each person with write access, as logins."""

    approvers: list[str]
    """Approved exactly the given commit, and wrote or pushed none of the pull request."""
    change_requesters: list[str]
    """Requested changes of any commit, and the request was neither dismissed nor withdrawn."""


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
    reviews = read_reviews(repository, pull, sha)
    allowed = not command.is_bot and has_write_access(repository, command.user)
    is_fork = not is_same_repository(repository, pull)
    reasons = {
        f"{code(command.user)} has no write access to this repository": not allowed,
        "the pull request comes from a fork, and code of forks never gets production secrets": is_fork,
        "the pull request is already merged" if pull.merged else "the pull request is closed": pull.state != "open",
        "the pull request is a draft": pull.draft,
        f"the base branch of the pull request is not {code(BRANCH)}": pull.base.ref != BRANCH,
        conflict_reason(): pull.mergeable is False,
        f"the pull request changes {code(WORKFLOWS)}, which a job may not merge: "
        "merge those files by hand, in a pull request of their own": any(
            file.filename.startswith(WORKFLOWS) for file in pull.get_files()
        ),
        f"changes are requested by {_format_logins(reviews.change_requesters)}": reviews.change_requesters,
        f"commit `{sha}` is approved by {len(reviews.approvers)} of {approvals} people with write access other than "
        "its authors and pushers; approvals of earlier commits don't count": len(reviews.approvers) < approvals,
    }
    return [reason for reason, applies in reasons.items() if applies] + _failing_checks(repository, sha)


def conflict_reason() -> str:
    return f"the pull request conflicts with {code(BRANCH)}"


def is_same_repository(repository: Repository, pull: PullRequest) -> bool:
    """Whether the branch is in this repository. A fork may have been deleted or renamed."""
    # PyGithub's type has no None for a deleted fork.
    head_repository: Repository | None = pull.head.repo
    return head_repository is not None and head_repository.full_name == repository.full_name


def has_write_access(repository: Repository, login: str) -> bool:
    """Whether a person may write to the repository. This endpoint reports `maintain` as write and `triage` as read."""
    try:
        return repository.get_collaborator_permission(login) in {"admin", "write"}
    except UnknownObjectException:  # not a user: an app, or a deleted account
        return False


def read_reviews(repository: Repository, pull: PullRequest, sha: str) -> Reviews:
    """What people with write access have decided about commit `sha`."""
    # The last decision of a person counts, and a later comment doesn't withdraw it. GitHub lists the oldest first.
    latest: dict[int, PullRequestReview] = {}
    for review in pull.get_reviews():
        person = review.user
        if person and person.type != "Bot" and review.state in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}:
            latest[person.id] = review
    last = [review for review in latest.values() if has_write_access(repository, review.user.login)]
    authors = {pull.user.id} | _pushers(repository, pull)
    for commit in pull.get_commits():
        authors |= {person.id for person in (commit.author, commit.committer) if person}
    return Reviews(
        [
            review.user.login
            for review in last
            if review.state == "APPROVED" and review.commit_id == sha and review.user.id not in authors
        ],
        [review.user.login for review in last if review.state == "CHANGES_REQUESTED"],
    )


def _pushers(repository: Repository, pull: PullRequest) -> set[int]:
    """Ids of people who have pushed to the branch of `pull`. The author of a commit is whoever its pusher wrote."""
    pushers = PaginatedList(
        NamedUser,
        repository.requester,
        f"{repository.url}/activity",
        {"ref": f"refs/heads/{pull.head.ref}"},
        attributesTransformer=lambda activity: activity["actor"] or {},
    )
    return {person.id for person in pushers}


def get_main_sha(repository: Repository) -> str:
    """The newest commit of main."""
    return repository.get_git_ref(f"heads/{BRANCH}").object.sha


def environment_name(pull: PullRequest) -> str:
    """The name that the bot gives the environment."""
    return f"pr_{pull.number}"


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


def _failing_checks(repository: Repository, sha: str) -> list[str]:
    newest: dict[str, CheckRun] = {}
    for run in repository.get_commit(sha).get_check_runs():
        # Other apps may use the same names.
        if run.app.slug == "github-actions" and (run.name not in newest or run.id > newest[run.name].id):
            newest[run.name] = run
    reasons = []
    for name in (CI_CHECK, BUILD_CHECK):
        state = (newest[name].conclusion or newest[name].status) if name in newest else "missing"
        if state != "success":
            reasons.append(f"check `{name}` of commit `{sha}` is {state}")
        elif name == BUILD_CHECK and newest[name].external_id != get_main_sha(repository):
            reasons.append(
                f"the environment was built with commit `{newest[name].external_id}` of {code(BRANCH)}, which is no "
                "longer the newest: re-run the workflow PR environment"
            )
    return reasons


def _format_logins(logins: list[str]) -> str:
    return ", ".join(code(login) for login in logins)
