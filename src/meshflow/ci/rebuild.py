"""Starts pr-environment.yml again for pull requests whose last result is out of date: after a review, after a deploy.

It is dispatched on main, so the workflow and its tools are main's. GitHub starts no workflow for other events that a
job's token causes, such as the merge of a deploy.
"""

import click
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.gate import BUILD_CHECK, HELD, is_same_repository, newest_checks
from meshflow.ci.github import BRANCH, connect, event
from meshflow.ci.reviews import has_write_access

WORKFLOW = "pr-environment.yml"

ADMIT_CHECK = "Admit"
"""The check run of the job that decides: it may have read the reviews before the one that this job is for."""


def rebuild() -> None:
    """For a review, start the pull request that waits for it. For any other event, start all that main has outdated."""
    repository = connect()
    if "review" in (payload := event()):
        pull = repository.get_pull(payload["pull_request"]["number"])
        sender = payload["sender"]
        # Anybody can review, and starting a build cancels the one in progress.
        if sender and has_write_access(repository, sender["login"]) and _waits_for_review(repository, pull):
            _dispatch(repository, pull)
        return
    for pull in repository.get_pulls(state="open", base=BRANCH):
        if is_same_repository(repository, pull) and not _has_failed(repository, pull):
            _dispatch(repository, pull)


def _waits_for_review(repository: Repository, pull: PullRequest) -> bool:
    newest = newest_checks(repository, pull.head.sha)
    held = BUILD_CHECK in newest and newest[BUILD_CHECK].conclusion == HELD
    return held or (ADMIT_CHECK in newest and newest[ADMIT_CHECK].status != "completed")


def _has_failed(repository: Repository, pull: PullRequest) -> bool:
    """Whether the environment couldn't be built: building it again would cost as much, and fail again."""
    newest = newest_checks(repository, pull.head.sha)
    return BUILD_CHECK in newest and newest[BUILD_CHECK].conclusion == "failure"


def _dispatch(repository: Repository, pull: PullRequest) -> None:
    inputs = {"number": str(pull.number), "sha": pull.head.sha}
    url = f"{repository.url}/actions/workflows/{WORKFLOW}/dispatches"
    repository.requester.requestJsonAndCheck("POST", url, input={"ref": BRANCH, "inputs": inputs})
    click.echo(f"Started {WORKFLOW} for commit {pull.head.sha} of pull request {pull.number}")
