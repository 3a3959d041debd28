"""May a pull request's environment be built? It means to run what it brings, with credentials for Snowflake."""

from pathlib import Path

import click
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.checkout import Checkout
from meshflow.ci.declarative import needing_approval
from meshflow.ci.gate import environment, read_reviews, same_repository, trial_merge
from meshflow.ci.github import BRANCH, code, connect, event, sticky_comment, write_outputs

SHOWN = 20


def admit(path: Path) -> None:
    """Write the outputs for a build, none for a fork, and say on the pull request why not.

    `path` is a checkout of its trial merge, with the merge's first parent. Nothing in it is executed.
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
    merge = trial_merge(repository, pull)
    if merge is None:
        why = f"There is no merge with the newest {code(BRANCH)} yet"
        _say(repository, pull, f"{why}: resolve the conflict, or re-run this job if there is none.")
        raise click.ClickException(f"Pull request {pull.number} has no trial merge with {BRANCH}")
    checkout = Checkout.at(path)
    if checkout.sha != merge.sha:
        # A push starts a run of its own; when main moved on, GitHub says nothing.
        raise click.ClickException(f"{path} is {checkout.sha}, and the merge is {merge.sha} by now: re-run this job")
    sha = merge.parents[1].sha
    if found := needing_approval(checkout.path):
        _require_approval(repository, pull, sha, found)
    sticky_comment(
        repository, pull.number, "admit", f"`{sha}` is being built as `{environment(pull)}`.", only_update=True
    )
    write_outputs(sha=sha, merge_sha=merge.sha, environment=environment(pull))


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
