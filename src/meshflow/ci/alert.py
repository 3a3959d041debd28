"""One open issue for each failing workflow, closed by its next success."""

import os
from datetime import UTC, datetime, timedelta

import click
from github.Issue import Issue
from github.Repository import Repository

from meshflow import slack
from meshflow.ci.github import connect, count, is_ours, run_url

ALERT_LABEL = "alert"
FIRST_FAILURE = "First failed run: "
EARLIER = "In an earlier run, which is as much as is known: "
MAX_CHARACTERS = 30_000
"""Of an incident in an issue, which has 65,536, and in a message to Slack, which has 40,000."""


def failed(workflow: str, incident: str = "") -> None:
    """Open the issue, or update it: `incident`, Markdown, says what fails. Slack gets what is new.

    The first line of `incident` names it: what fails for the same reason is one incident.
    """
    incident = incident.strip()[:MAX_CHARACTERS]
    repository = connect()
    if found := _open_issues(repository, workflow):
        # No comment: an hourly workflow would send everybody 24 mails a day.
        before, _, rest = (found[0].body or "").partition(FIRST_FAILURE)
        before, first = before.strip().removeprefix(EARLIER), rest.partition("\n")[0]
        found[0].edit(body=_body(incident or (before and EARLIER + before), first or run_url(), run_url()))
        if incident and _name(incident) != _name(before):
            _post_to_slack(f"{_title(workflow)} for another reason: {run_url()}\n{incident}")
        return
    issue = repository.create_issue(_title(workflow), _body(incident, run_url()), labels=[ALERT_LABEL])
    _post_to_slack(f"{_title(workflow)}: {run_url()}\n{incident}".rstrip())
    click.echo(f"Opened issue {issue.number}")


def recovered(workflow: str) -> None:
    """Close the issue, if there is one, with the time that it was open."""
    for issue in _open_issues(connect(), workflow):
        took = _duration(datetime.now(UTC) - issue.created_at)
        issue.create_comment(f"The workflow succeeded after {took}: {run_url()}")
        issue.edit(state="closed", state_reason="completed")
        _post_to_slack(f"Workflow {workflow} succeeds again after {took}: {run_url()}")


def _body(incident: str, first: str, latest: str = "") -> str:
    parts = [
        incident,
        f"{FIRST_FAILURE}{first}",
        "The next successful run closes this issue. What to do: docs/runbooks/.",
        f"Latest failed run: {latest}" if latest else "",
    ]
    return "\n\n".join(filter(None, parts))


def _name(incident: str) -> str:
    return incident.partition("\n")[0].strip()


def _duration(span: timedelta) -> str:
    """Such as `2 hours 5 minutes`."""
    minutes = max(int(span.total_seconds() // 60), 1)
    parts = ((minutes // 1440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute"))
    return " ".join(count(number, unit) for number, unit in parts if number)


def _open_issues(repository: Repository, workflow: str) -> list[Issue]:
    # The author is checked, because anybody may open an issue with this title.
    return [
        issue
        for issue in repository.get_issues(state="open", labels=[ALERT_LABEL])
        if issue.title == _title(workflow) and is_ours(issue)
    ]


def _title(workflow: str) -> str:
    return f"Workflow {workflow} fails"


def _post_to_slack(text: str) -> None:
    """Post `text` if there is a webhook. The issue is written already, so an error is printed only."""
    if webhook := os.environ.get(slack.WEBHOOK):
        try:
            slack.post(webhook, text)
        except click.ClickException as error:
            click.echo(error.message, err=True)
