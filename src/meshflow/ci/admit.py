"""Decides whether a pull request's environment may be built: the build executes its code with Snowflake credentials."""

from pathlib import Path

import click
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.checkout import Checkout, ConflictError, changes_besides_documents
from meshflow.ci.declarative import find_code_changes
from meshflow.ci.gate import (
    HELD,
    approval_reason,
    conflict_reason,
    create_build_check,
    get_main_sha,
    is_same_repository,
    too_many_commits,
)
from meshflow.ci.github import BRANCH, code, connect, event, sticky_comment, write_outputs
from meshflow.ci.owners import missing_owners
from meshflow.ci.result import environment_name
from meshflow.ci.reviews import read_reviews

MAX_LISTED_FILES = 20

SHOWN = "is computed from prod's rows, and everybody can read the result"
"""The reason to hold any change in a public repository: counts, sums and failed audits may encode a person's data."""


def admit(path: Path) -> None:
    """Write the outputs `main`, `sha` and `documents_only` if the event's pull request may be built.

    Otherwise the reason is commented on it.

    `path` is a clone with the pull request's head and main; the two are merged there. Nothing in it is executed.
    A fork gets no outputs. Neither does a pull request that waits for approvals; its check `PR environment` then
    requires action, and rebuild() starts this again. In a public repository each does, unless it changes documents
    only. Raises click.ClickException if it conflicts with main.
    """
    repository = connect()
    pull = repository.get_pull(event()["pull_request"]["number"])
    if pull.state != "open" or pull.base.ref != BRANCH:
        click.echo(f"Pull request {pull.number} is closed, or its base branch is not {BRANCH}: nothing to build")
        return
    if not is_same_repository(repository, pull):
        _comment(
            repository,
            pull,
            "The pull request comes from a fork, and code of forks never gets credentials. "
            "To build it, somebody with write access has to review it and push it to a branch of this repository.",
        )
        return
    sha, main = event()["pull_request"]["head"]["sha"], get_main_sha(repository)
    # A push starts its own run. A dispatch may name any commit, and GitHub serves those of forks too.
    if pull.head.sha != sha:
        click.echo(f"The head of pull request {pull.number} is no longer {sha}: nothing to build")
        return
    try:
        Checkout.merge(path, main, sha)
    except ConflictError:
        _comment(repository, pull, f"Resolve this first: {conflict_reason()}.")
        raise click.ClickException(f"Pull request {pull.number} conflicts with {BRANCH}") from None
    changed = changes_besides_documents(path, main)
    found = find_code_changes(path, main)
    if not event()["repository"].get("private"):
        found = dict.fromkeys(changed, SHOWN) | found
    if found and (reasons := _missing_approvals(repository, pull, sha, found)):
        _hold(repository, pull, main, found, reasons)
        return
    building = f"Commit `{sha}` is being built as environment `{environment_name(pull.number)}`."
    sticky_comment(repository, pull.number, "admit", building, only_update=True)
    write_outputs(main=main, sha=sha, documents_only=str(not changed).lower())


def _missing_approvals(repository: Repository, pull: PullRequest, sha: str, found: dict[str, str]) -> list[str]:
    """Why the files `found` may not be executed yet, Markdown."""
    if reason := too_many_commits(pull):
        return [reason]
    reviews = read_reviews(repository, pull, sha)
    reasons = [approval_reason(sha, reviews)] if len(reviews.approvers) < reviews.required else []
    if reviews.change_requesters:
        reasons.append(f"changes are requested by {', '.join(map(code, reviews.change_requesters))}")
    return reasons + missing_owners(repository, pull, found, reviews.approvers)


def _hold(repository: Repository, pull: PullRequest, main: str, found: dict[str, str], reasons: list[str]) -> None:
    listed = [f"- {code(path)} {code(reason)}" for path, reason in list(found.items())[:MAX_LISTED_FILES]]
    if len(found) > MAX_LISTED_FILES:
        listed.append(f"- and {len(found) - MAX_LISTED_FILES} more")
    sha = pull.head.sha
    body = (
        "The build has Snowflake credentials, so somebody has to read this before it is loaded:\n\n"
        + "\n".join(listed)
        + f"\n\nBefore the build, somebody else has to approve commit `{sha}`, and the build then starts by itself:\n\n"
        + "\n".join(f"- {reason}" for reason in reasons)
    )
    _comment(repository, pull, body)
    create_build_check(repository, sha, main, HELD, body)
    click.echo(f"Commit {sha} of pull request {pull.number} waits for approvals: nothing is built")


def _comment(repository: Repository, pull: PullRequest, reason: str) -> None:
    body = f"The environment `{environment_name(pull.number)}` was not built. {reason}"
    sticky_comment(repository, pull.number, "admit", body)
    # It invites to deploy the commit before.
    outdated = f"Commit `{pull.head.sha}` was not built, so there is nothing to report: see the other comment."
    sticky_comment(repository, pull.number, "report", outdated, only_update=True)
