"""The code owners of main whose approval a pull request lacks.

A job's token may not read the members of a team. So GitHub itself decides for owners that are teams or addresses: its
review decision is APPROVED only with the code owners' approvals, where the ruleset of main requires them.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import click
from codeowners import CodeOwners
from github import UnknownObjectException
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.github import BRANCH, code

if TYPE_CHECKING:
    from github.ContentFile import ContentFile

FILES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
"""GitHub reads the first that exists."""

REVIEW_DECISION = """
query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) { pullRequest(number: $number) { reviewDecision } }
}"""


def missing_owners(repository: Repository, pull: PullRequest, paths: Iterable[str], approvers: list[str]) -> list[str]:
    """For each set of code owners who own some of `paths` and haven't approved: one reason, Markdown."""
    owners = _read(repository)
    unapproved: dict[tuple[tuple[str, str], ...], list[str]] = {}
    logins = {f"@{login}".lower() for login in approvers}
    for path in sorted(set(paths)):
        found = tuple(owners.of(path))
        if found and not logins & {name.lower() for kind, name in found if kind == "USERNAME"}:
            unapproved.setdefault(found, []).append(path)
    if any(_decided_by_github(found) for found in unapproved) and _is_approved(repository, pull):
        unapproved = {found: listed for found, listed in unapproved.items() if not _decided_by_github(found)}
    return [
        f"{code(listed[0])}{f' and {len(listed) - 1} more' if listed[1:] else ''} must be approved by a code owner: "
        + " or ".join(code(name) for _, name in found)
        for found, listed in unapproved.items()
    ]


def _decided_by_github(owners: tuple[tuple[str, str], ...]) -> bool:
    return any(kind != "USERNAME" for kind, _ in owners)


def _is_approved(repository: Repository, pull: PullRequest) -> bool:
    """Whether GitHub finds that all required reviews were given. False if main requires none."""
    owner, name = repository.full_name.split("/")
    variables = {"owner": owner, "name": name, "number": pull.number}
    _, response = repository.requester.graphql_query(REVIEW_DECISION, variables)
    return bool(response["data"]["repository"]["pullRequest"]["reviewDecision"] == "APPROVED")


def _read(repository: Repository) -> CodeOwners:
    """CODEOWNERS of main. Raises click.ClickException if a pattern in it is invalid."""
    for file in FILES:
        try:
            content = cast("ContentFile", repository.get_contents(file, ref=BRANCH))
        except UnknownObjectException:
            continue
        text = content.decoded_content.decode()
        try:
            return CodeOwners(_drop_ignored(text, _errors(repository)))
        except ValueError as error:
            raise click.ClickException(f"{file} of {BRANCH}: {error}") from None
    return CodeOwners("")


def _errors(repository: Repository) -> list[dict[str, Any]]:
    """What GitHub can't use in CODEOWNERS of main."""
    _, response = repository.requester.requestJsonAndCheck(
        "GET", f"{repository.url}/codeowners/errors", parameters={"ref": BRANCH}
    )
    errors: list[dict[str, Any]] = response["errors"]
    return errors


def _drop_ignored(text: str, errors: list[dict[str, Any]]) -> str:
    """CODEOWNERS without comments, and without the lines and owners that GitHub ignores.

    GitHub assigns nobody for an owner that doesn't exist or has no write access. Here a line without any other owner
    is dropped, so that an earlier line counts: on GitHub, its files would have no owner.
    """
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = [error for error in errors if error["line"] == number]
        words = re.finditer(r"(?:\\.|\S)+", re.sub(r"(^|\s)#.*", "", line))
        kept = [word[0] for word in words if not any(word.start() < error["column"] <= word.end() for error in found)]
        is_dropped = found and (not kept[1:] or any(error["kind"] != "Unknown owner" for error in found))
        lines.append("" if is_dropped else " ".join(kept))
    return "\n".join(lines)
