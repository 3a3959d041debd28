"""One open issue for each failing workflow, closed by its next success."""

import os

import click
import requests
from github.Issue import Issue
from github.Repository import Repository

from meshflow.ci.github import BOT_LOGIN, connect, run_url

ALERT_LABEL = "alert"
LATEST_FAILURE = "\n\nLatest failed run: "


def failed(workflow: str) -> None:
    """Open the issue, or update the latest failed run in the one that is open."""
    repository = connect()
    if found := _open_issues(repository, workflow):
        # No comment: an hourly workflow would send everybody 24 mails a day.
        first = found[0].body.partition(LATEST_FAILURE)[0]
        found[0].edit(body=f"{first}{LATEST_FAILURE}{run_url()}")
        return
    body = f"First failed run: {run_url()}\n\nThe next successful run closes this issue. What to do: docs/runbooks/."
    issue = repository.create_issue(_title(workflow), body, labels=[ALERT_LABEL])
    _post_to_slack(f"{_title(workflow)}: {run_url()}")
    click.echo(f"Opened issue {issue.number}")


def recovered(workflow: str) -> None:
    """Close the issue, if there is one."""
    found = _open_issues(connect(), workflow)
    for issue in found:
        issue.create_comment(f"The workflow succeeded: {run_url()}")
        issue.edit(state="closed", state_reason="completed")
    if found:
        _post_to_slack(f"Workflow {workflow} succeeds again: {run_url()}")


def _open_issues(repository: Repository, workflow: str) -> list[Issue]:
    # The author is checked, because anybody may open an issue with this title.
    return [
        issue
        for issue in repository.get_issues(state="open", labels=[ALERT_LABEL])
        if issue.title == _title(workflow) and issue.user.login == BOT_LOGIN
    ]


def _title(workflow: str) -> str:
    return f"Workflow {workflow} fails"


def _post_to_slack(text: str) -> None:
    """Post `text` to the URL in MESHFLOW_SLACK_WEBHOOK, if it is set. The URL is a secret: errors never quote it."""
    if not (webhook := os.environ.get("MESHFLOW_SLACK_WEBHOOK")):
        return
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    try:
        response = requests.post(webhook, json={"text": plain}, timeout=10)
    except requests.RequestException as error:
        click.echo(f"Posting to Slack failed: {type(error).__name__}", err=True)
    else:
        if not response.ok:
            click.echo(f"Posting to Slack failed: HTTP {response.status_code}", err=True)
