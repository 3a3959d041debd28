"""Decides whether a pull request's environment may be built: the build executes its code with Snowflake credentials."""

from pathlib import Path

import click
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.checkout import Checkout, ConflictError
from meshflow.ci.declarative import find_code_changes
from meshflow.ci.gate import conflict_reason, environment_name, get_main_sha, is_same_repository, read_reviews
from meshflow.ci.github import BRANCH, code, connect, event, sticky_comment, write_outputs

MAX_LISTED_FILES = 20


def admit(path: Path) -> None:
    """Write the outputs `main` and `sha` if the event's pull request may be built; else comment the reason on it.

    `path` is a clone with the pull request's head and main; the two are merged there. Nothing in it is executed.
    A fork gets no outputs and no error. Raises click.ClickException if somebody has to act before the build.
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
    # The head of the event: a later push starts its own run.
    sha, main = event()["pull_request"]["head"]["sha"], get_main_sha(repository)
    try:
        Checkout.merge(path, main, sha)
    except ConflictError:
        _comment(repository, pull, f"Resolve this first: {conflict_reason()}.")
        raise click.ClickException(f"Pull request {pull.number} conflicts with {BRANCH}") from None
    if found := find_code_changes(path, main):
        _require_approval(repository, pull, sha, found)
    building = f"Commit `{sha}` is being built as environment `{environment_name(pull)}`."
    sticky_comment(repository, pull.number, "admit", building, only_update=True)
    write_outputs(main=main, sha=sha)


def _require_approval(repository: Repository, pull: PullRequest, sha: str, found: dict[str, str]) -> None:
    reviews = read_reviews(repository, pull, sha)
    if reviews.approvers and not reviews.change_requesters:
        return
    listed = [f"- {code(path)} {code(reason)}" for path, reason in list(found.items())[:MAX_LISTED_FILES]]
    if len(found) > MAX_LISTED_FILES:
        listed.append(f"- and {len(found) - MAX_LISTED_FILES} more")
    _comment(
        repository,
        pull,
        "The pull request changes what would be executed with Snowflake credentials:\n\n"
        + "\n".join(listed)
        + f"\n\nBefore the build, a second person with write access has to approve commit `{sha}`, "
        "and no requested changes may be open. Then re-run this job.",
    )
    raise click.ClickException(f"Approve commit {sha} of pull request {pull.number}, then re-run this job")


def _comment(repository: Repository, pull: PullRequest, reason: str) -> None:
    body = f"The environment `{environment_name(pull)}` was not built. {reason}"
    sticky_comment(repository, pull.number, "admit", body)
