"""Who has approved a pull request: people with write access who neither wrote nor pushed any of it.

An approval counts for one commit and one base branch, since both decide what is merged.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from github import UnknownObjectException
from github.GithubObject import NonCompletableGithubObject
from github.PaginatedList import PaginatedList
from github.PullRequest import PullRequest
from github.Repository import Repository

if TYPE_CHECKING:
    from github.PullRequestReview import PullRequestReview

DEPENDABOT = "dependabot[bot]"
"""Its pushes contain what it has made of main and the package indexes. Nobody else can make it push."""

BASE_CHANGES = {"base_ref_changed", "automatic_base_change_succeeded", "base_ref_force_pushed"}
"""Events after which the same commit is another change."""


Push = dict[str, Any]
"""A push to a branch, or its creation, as GitHub sends it: `actor`, `after`, `timestamp` and others."""


@dataclass(frozen=True)
class Reviews:
    """The latest decision of each person with write access, as logins."""

    approvers: list[str]
    """Approved exactly the given commit for the current base, and wrote or pushed none of the pull request."""
    change_requesters: list[str]
    """Requested changes of any commit, and the request was neither dismissed nor withdrawn."""
    required: int
    """Approvals that are needed at least: 2 if no person is known to have pushed the commit, because an approver could
    have made a workflow push it."""


def read_reviews(repository: Repository, pull: PullRequest, sha: str) -> Reviews:
    """What people with write access have decided about commit `sha` of `pull`."""
    # The last decision of a person counts, and a later comment doesn't withdraw it. GitHub lists the oldest first.
    latest: dict[int, PullRequestReview] = {}
    for review in pull.get_reviews():
        person = review.user
        if is_person(person) and review.state in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}:
            latest[person.id] = review
    last = [review for review in latest.values() if has_write_access(repository, review.user.login)]
    pushes = _activities(repository, ref=f"refs/heads/{pull.head.ref}")
    commits = list(pull.get_commits())
    authors = {person.id for commit in commits for person in (commit.author, commit.committer) if person}
    authors |= {pull.user.id} if pull.user else set()
    authors |= {push["actor"]["id"] for push in pushes if push["actor"]}
    base_changed = _base_changed(pull)
    approvals = [
        review
        for review in last
        if review.state == "APPROVED"
        and review.commit_id == sha
        and review.user.id not in authors
        and not (base_changed and review.submitted_at <= base_changed)
    ]
    shas = {commit.sha for commit in commits}
    return Reviews(
        [
            login
            for login in (review.user.login for review in approvals)
            if not _pushed_before(_activities(repository, actor=login, time_period="year"), pushes, shas)
        ],
        [review.user.login for review in last if review.state == "CHANGES_REQUESTED"],
        1 if _is_pushed_by_person(pushes, sha) or _is_of_dependabot(pull, pushes, sha) else 2,
    )


def is_person(user: Any) -> bool:
    """Whether a user, as PyGithub has it, is a person and no app. A deleted account is None."""
    return user is not None and user.type == "User"


def has_write_access(repository: Repository, login: str) -> bool:
    """Whether a person may write to the repository. This endpoint reports `maintain` as write and `triage` as read."""
    try:
        return repository.get_collaborator_permission(login) in {"admin", "write"}
    except UnknownObjectException:  # not a user: an app, or a deleted account
        return False


class _Activity(NonCompletableGithubObject):
    """A push, or the creation of a branch. PyGithub has no class for it; `raw_data` has what GitHub sends."""

    def _initAttributes(self) -> None:  # noqa: N802 - PyGithub's name
        pass

    def _useAttributes(self, attributes: dict[str, Any]) -> None:  # noqa: N802
        pass


def _activities(repository: Repository, **filters: str) -> list[Push]:
    """Pushes to branches of the repository, newest first. The author of a commit is whoever its pusher wrote."""
    found = PaginatedList(_Activity, repository.requester, f"{repository.url}/activity", filters)
    return [activity.raw_data for activity in found if activity.raw_data["activity_type"] != "branch_deletion"]


def _is_pushed_by_person(pushes: list[Push], sha: str) -> bool:
    """Whether a person last set the branch to `sha`. Who pushes onto a commit of a bot has fetched that."""
    pushers = [push["actor"] for push in pushes if push["after"] == sha]
    return bool(pushers and pushers[0] and pushers[0]["type"] == "User")


def _pushed_before(own: list[Push], pushes: list[Push], shas: set[str]) -> bool:
    """Whether one of the commits `shas` was in somebody's `own` pushes, to any branch, before it was in `pushes`.

    It is then that person's commit, whoever its author is said to be.
    """
    first = {push["after"]: push["timestamp"] for push in pushes}  # the oldest is the last
    newest = pushes[0]["timestamp"] if pushes else ""
    return any(push["after"] in shas and push["timestamp"] < first.get(push["after"], newest) for push in own)


def _is_of_dependabot(pull: PullRequest, pushes: list[Push], sha: str) -> bool:
    """Whether Dependabot has opened the pull request, and made every push to its branch, that of `sha` included."""
    logins = {(push["actor"] or {}).get("login") for push in pushes}
    is_pushed = any(push["after"] == sha for push in pushes)
    return pull.user is not None and pull.user.login == DEPENDABOT and logins == {DEPENDABOT} and is_pushed


def _base_changed(pull: PullRequest) -> datetime | None:
    """When the base branch of the pull request was last changed for another, or rewritten."""
    times = (event.created_at for event in pull.get_issue_events() if event.event in BASE_CHANGES)
    return max(times, default=None)
