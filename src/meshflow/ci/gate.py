"""May a pull request go to production? Asked before a job has production's secrets, and again by the job with them."""

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

OK, BUILT = "ok", "PR environment"
"""The checks that have to have succeeded on the head: ci.yml's, and what build_check() makes.

The bot's own check doesn't do: it stands on the head as it is when the bot starts, whatever was checked out.
"""

WORKFLOWS = ".github/workflows/"


@dataclass(frozen=True)
class Command:
    """Somebody has just commented `/deploy` on a pull request."""

    number: int
    user: str
    is_bot: bool

    @classmethod
    def of(cls, payload: dict[str, Any]) -> Self | None:
        """None for everything else: other events, other comments, edits, plain issues."""
        comment, issue = payload.get("comment"), payload.get("issue", {})
        if not comment or payload.get("action") != "created" or not issue.get("pull_request"):
            return None
        if (comment["body"] or "").strip() != "/deploy":
            return None
        return cls(issue["number"], comment["user"]["login"], comment["user"]["type"] == "Bot")


@dataclass(frozen=True)
class Reviews:
    """The last word of each person who may write, by login."""

    approving: list[str]
    """Of exactly the commit asked about, by people who wrote none of it."""
    objecting: list[str]
    """Of whatever commit: changes were requested, and that was neither dismissed nor taken back."""


def gate(approvals: int) -> None:
    """Write the output `sha` for a deploy, none if the event is no `/deploy`, or say on the pull request why not.

    Raises click.ClickException with every reason.
    """
    command = Command.of(event())
    if not command:
        click.echo("This is no new comment `/deploy` on a pull request: nothing to do")
        return
    repository = connect()
    pull = repository.get_pull(command.number)
    require(repository, command, pull, rejections(repository, command, pull, approvals))
    accepted = f"`/deploy` by {code(command.user)} is accepted: `{pull.head.sha}`, [by this run]({run_url()})."
    sticky_comment(repository, pull.number, "gate", accepted, only_update=True)
    write_outputs(sha=pull.head.sha)


def require(repository: Repository, command: Command, pull: PullRequest, reasons: list[str]) -> None:
    """Raises click.ClickException with the `reasons` against a deploy, if any, and says them on the pull request."""
    if reasons:
        listed = "\n".join(f"- {reason}" for reason in reasons)
        body = (
            f"`/deploy` by {code(command.user)} is rejected, and nothing has changed:\n\n{listed}\n\n[Run]({run_url()})"
        )
        sticky_comment(repository, pull.number, "gate", body)
        raise click.ClickException(f"Pull request {pull.number} may not be deployed: {'; '.join(reasons)}")


def rejections(repository: Repository, command: Command, pull: PullRequest, approvals: int) -> list[str]:
    """Every reason, in Markdown, why `pull` may not be deployed as it is now."""
    sha = pull.head.sha
    reviews = read_reviews(repository, pull, sha)
    allowed = not command.is_bot and may_write(repository, command.user)
    reasons = {
        f"{code(command.user)} may not write to this repository": not allowed,
        "it comes from a fork, whose code never gets production's secrets": not same_repository(repository, pull),
        "it is already merged" if pull.merged else "it is closed": pull.state != "open",
        "it is a draft": pull.draft,
        f"it goes to another branch than {code(BRANCH)}": pull.base.ref != BRANCH,
        conflict(): pull.mergeable is False,
        f"it changes {code(WORKFLOWS)}, which a job may not merge: do that by hand, in a pull request of its own": any(
            file.filename.startswith(WORKFLOWS) for file in pull.get_files()
        ),
        f"changes are requested by {_names(reviews.objecting)}": reviews.objecting,
        f"`{sha}` is approved by {len(reviews.approving)} of {approvals} people who may write and haven't written it "
        "themselves; earlier commits don't count": len(reviews.approving) < approvals,
    }
    return [reason for reason, holds in reasons.items() if holds] + _failing_checks(repository, sha)


def conflict() -> str:
    return f"it conflicts with {code(BRANCH)}"


def same_repository(repository: Repository, pull: PullRequest) -> bool:
    """Whether the branch is in this repository; a fork may be gone, or have been renamed."""
    # PyGithub's type says that there always is one.
    there: Repository | None = pull.head.repo
    return there is not None and there.full_name == repository.full_name


def may_write(repository: Repository, login: str) -> bool:
    """Whether a person may write to the repository; GitHub calls `maintain` write here, and `triage` read."""
    try:
        return repository.get_collaborator_permission(login) in {"admin", "write"}
    except UnknownObjectException:  # not a user: an app, or one that is gone
        return False


def read_reviews(repository: Repository, pull: PullRequest, sha: str) -> Reviews:
    """What people who may write have decided about commit `sha`."""
    # Of decisions the last one counts; a comment after it takes nothing back. GitHub lists them by age.
    latest: dict[int, PullRequestReview] = {}
    for review in pull.get_reviews():
        person = review.user
        if person and person.type != "Bot" and review.state in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}:
            latest[person.id] = review
    last = [review for review in latest.values() if may_write(repository, review.user.login)]
    writers = {pull.user.id} | _pushers(repository, pull)
    for commit in pull.get_commits():
        writers |= {person.id for person in (commit.author, commit.committer) if person}
    return Reviews(
        [
            review.user.login
            for review in last
            if review.state == "APPROVED" and review.commit_id == sha and review.user.id not in writers
        ],
        [review.user.login for review in last if review.state == "CHANGES_REQUESTED"],
    )


def _pushers(repository: Repository, pull: PullRequest) -> set[int]:
    """Who has pushed to the branch of `pull`. Authors of commits are what the pusher says they are."""
    pushers = PaginatedList(
        NamedUser,
        repository.requester,
        f"{repository.url}/activity",
        {"ref": f"refs/heads/{pull.head.ref}"},
        attributesTransformer=lambda activity: activity["actor"] or {},
    )
    return {person.id for person in pushers}


def tip(repository: Repository) -> str:
    """The newest commit of main."""
    return repository.get_git_ref(f"heads/{BRANCH}").object.sha


def environment(pull: PullRequest) -> str:
    """As the bot names it."""
    return f"pr_{pull.number}"


def build_check(repository: Repository, head: str, main: str, conclusion: str, summary: str) -> None:
    """Say on commit `head` whether its environment was built, merged with commit `main`; gate() asks for both."""
    repository.create_check_run(
        BUILT,
        head,
        external_id=main,
        status="completed",
        conclusion=conclusion,
        details_url=run_url(),
        output={"title": f"{BUILT}: {conclusion}", "summary": summary},
    )


def _failing_checks(repository: Repository, sha: str) -> list[str]:
    newest: dict[str, CheckRun] = {}
    for run in repository.get_commit(sha).get_check_runs():
        # Other apps may name theirs as they like.
        if run.app.slug == "github-actions" and (run.name not in newest or run.id > newest[run.name].id):
            newest[run.name] = run
    reasons = []
    for name in (OK, BUILT):
        state = (newest[name].conclusion or newest[name].status) if name in newest else "missing"
        if state != "success":
            reasons.append(f"check `{name}` of `{sha}` is {state}")
        elif name == BUILT and newest[name].external_id != tip(repository):
            reasons.append(
                f"its environment was built with `{newest[name].external_id}` of {code(BRANCH)}, which has moved on: "
                "re-run its workflow PR environment"
            )
    return reasons


def _names(logins: list[str]) -> str:
    return ", ".join(code(login) for login in logins)
