"""One issue for each workflow that fails, until it doesn't any more."""

import os

import click
import requests
from github.Issue import Issue
from github.Repository import Repository

from meshflow.ci.github import AUTHOR, connect, run_url

LABEL = "alert"


def failed(workflow: str) -> None:
    """Open the issue, or name the newest failure in the one that is open."""
    repository = connect()
    if found := _open_issues(repository, workflow):
        # No comment: an hour's workflow would send everybody 24 mails a day.
        first = found[0].body.partition("\n\nLast time: ")[0]
        found[0].edit(body=f"{first}\n\nLast time: {run_url()}")
        return
    body = f"It failed: {run_url()}\n\nThis issue is closed by the first run that succeeds. What to do: docs/runbooks/."
    issue = repository.create_issue(_title(workflow), body, labels=[LABEL])
    _tell_slack(f"{_title(workflow)}: {run_url()}")
    click.echo(f"Opened issue {issue.number}")


def recovered(workflow: str) -> None:
    """Close the issue, if there is one."""
    found = _open_issues(connect(), workflow)
    for issue in found:
        issue.create_comment(f"It succeeded: {run_url()}")
        issue.edit(state="closed", state_reason="completed")
    if found:
        _tell_slack(f"Workflow {workflow} succeeds again: {run_url()}")


def _open_issues(repository: Repository, workflow: str) -> list[Issue]:
    # Not by the label's search of issues by others: anybody may open one with this title.
    return [
        issue
        for issue in repository.get_issues(state="open", labels=[LABEL])
        if issue.title == _title(workflow) and issue.user.login == AUTHOR
    ]


def _title(workflow: str) -> str:
    return f"Workflow {workflow} fails"


def _tell_slack(text: str) -> None:
    """Say `text` where MESHFLOW_SLACK_WEBHOOK leads, if it is set: a secret, as are errors that quote it."""
    if not (webhook := os.environ.get("MESHFLOW_SLACK_WEBHOOK")):
        return
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    try:
        answer = requests.post(webhook, json={"text": plain}, timeout=10)
    except requests.RequestException as error:
        click.echo(f"Slack can't be told: {type(error).__name__}", err=True)
    else:
        if not answer.ok:
            click.echo(f"Slack can't be told: it answered {answer.status_code}", err=True)
