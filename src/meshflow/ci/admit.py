"""May a pull request's environment be built? It means to run what it brings, with credentials for Snowflake."""

from pathlib import Path

import click
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.checkout import Checkout, ConflictError
from meshflow.ci.declarative import needing_approval
from meshflow.ci.gate import conflict, environment, read_reviews, same_repository, tip
from meshflow.ci.github import BRANCH, code, connect, event, sticky_comment, write_outputs

SHOWN = 20


def admit(path: Path) -> None:
    """Write the outputs `main` and `sha` for a build, none for a fork, and say on the pull request why not.

    `path` is a clone with the pull request's head and main, which stays merged. Nothing in it is executed.
    Raises click.ClickException if it may be built once something is done about it.
    """
    repository = connect()
    pull = repository.get_pull(event()["pull_request"]["number"])
    if pull.state != "open" or pull.base.ref != BRANCH:
        click.echo(f"Pull request {pull.number} is closed, or goes to another branch than {BRANCH}: nothing to build")
        return
    if not same_repository(repository, pull):
        why = "It comes from a fork, whose code never gets credentials"
        _say(repository, pull, f"{why}: somebody who may write reads it, and pushes it to a branch of this repository.")
        return
    # The head of the event: whoever pushes meanwhile starts a run of their own.
    sha, main = event()["pull_request"]["head"]["sha"], tip(repository)
    try:
        Checkout.merged(path, main, sha)
    except ConflictError:
        _say(repository, pull, f"Resolve that {conflict()}.")
        raise click.ClickException(f"Pull request {pull.number} conflicts with {BRANCH}") from None
    if found := needing_approval(path, main):
        _require_approval(repository, pull, sha, found)
    sticky_comment(
        repository, pull.number, "admit", f"`{sha}` is being built as `{environment(pull)}`.", only_update=True
    )
    write_outputs(main=main, sha=sha)


def _require_approval(repository: Repository, pull: PullRequest, sha: str, found: dict[str, str]) -> None:
    reviews = read_reviews(repository, pull, sha)
    if reviews.approving and not reviews.objecting:
        return
    shown = [f"- {code(path)} {code(reason)}" for path, reason in list(found.items())[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"- and {len(found) - SHOWN} more")
    _say(
        repository,
        pull,
        "It changes what would run with credentials for Snowflake:\n\n"
        + "\n".join(shown)
        + "\n\nSomebody else who may "
        f"write has to approve commit `{sha}`, with nobody requesting changes; then re-run this job.",
    )
    raise click.ClickException(f"Approve commit {sha} of pull request {pull.number}, then re-run this job")


def _say(repository: Repository, pull: PullRequest, why: str) -> None:
    sticky_comment(repository, pull.number, "admit", f"The environment `{environment(pull)}` isn't built. {why}")
