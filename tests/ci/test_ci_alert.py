"""`meshflow ci alert`: one open issue per workflow, from its first failure to its next success."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result
from fake_github import BOT, GHOST, FakeGitHub, Issue

from meshflow.ci.alert import EARLIER


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGitHub]:
    with FakeGitHub(tmp_path / "origin.git") as github:
        yield github
    assert not github.internal_errors


@pytest.fixture
def slack() -> Iterator["Slack"]:
    server = Slack()
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Slack(HTTPServer):
    """A webhook on loopback."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Webhook)

    @property
    def webhook(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/secret"


class Webhook(BaseHTTPRequestHandler):
    server: Slack

    def do_POST(self) -> None:
        self.server.texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


def alert(github: FakeGitHub, state: str, workflow: str = "run", webhook: str = "", incident: str = "") -> Result:
    from meshflow.cli import main  # noqa: PLC0415

    environment = github.environment | {"MESHFLOW_SLACK_WEBHOOK": webhook}
    result = CliRunner(env=environment).invoke(
        main, ["ci", "alert", state, "--workflow", workflow, "--incident", incident]
    )
    assert result.exit_code == 0, result.output
    return result


def open_alerts(github: FakeGitHub) -> list[Issue]:
    return [issue for issue in github.issues.values() if issue.state == "open" and "alert" in issue.labels]


def test_repeated_failures_of_a_workflow_open_one_issue(github: FakeGitHub) -> None:
    for _ in range(4):
        alert(github, "failed")
    (issue,) = open_alerts(github)
    assert issue.title == "Workflow run fails"
    assert "/actions/runs/4711" in issue.body
    assert issue.body.count("Latest failed run: ") == 1
    assert github.comments_on(issue) == [], "each comment would be a mail to everybody"


def test_an_issue_whose_text_was_deleted_is_updated(github: FakeGitHub) -> None:
    alert(github, "failed")
    (issue,) = open_alerts(github)
    issue.body = None  # type: ignore[assignment] - as GitHub sends it
    alert(github, "failed")
    assert "Latest failed run" in str(issue.body)


def test_success_closes_the_issue_and_the_next_failure_opens_another(github: FakeGitHub) -> None:
    alert(github, "failed")
    (issue,) = open_alerts(github)
    alert(github, "recovered")
    assert issue.state == "closed"
    assert "The workflow succeeded" in github.comments_on(issue)[-1]
    alert(github, "failed")
    assert [open_.number for open_ in open_alerts(github)] == [issue.number + 1]


def test_success_without_an_open_alert_writes_nothing(github: FakeGitHub, slack: Slack) -> None:
    alert(github, "recovered", webhook=slack.webhook)
    assert (github.issues, slack.texts) == ({}, [])


def test_each_workflow_has_its_own_issue(github: FakeGitHub) -> None:
    alert(github, "failed", "run")
    alert(github, "failed", "weekly")
    alert(github, "recovered", "run")
    assert [issue.title for issue in open_alerts(github)] == ["Workflow weekly fails"]


@pytest.mark.parametrize("author", ["mallory", GHOST])
def test_an_issue_of_another_author_with_the_same_title_is_ignored(github: FakeGitHub, author: str) -> None:
    other = github.open_issue("Workflow run fails", author=author)
    other.labels = {"alert"}
    alert(github, "failed")
    assert [issue.author for issue in open_alerts(github)] == [author, BOT]
    alert(github, "recovered")
    assert other.state == "open"
    assert other.comments == []


def test_slack_gets_one_message_per_failure_and_one_per_recovery(github: FakeGitHub, slack: Slack) -> None:
    for state in ("failed", "failed", "recovered", "recovered"):
        alert(github, state, "a <b> & c", webhook=slack.webhook)
    assert [text.split(":")[0] for text in slack.texts] == [
        "Workflow a &lt;b&gt; &amp; c fails",
        "Workflow a &lt;b&gt; &amp; c succeeds again after 1 minute",
    ]


def incident(model: str, rows: int) -> str:
    return (
        f"Failed: `{model}` (`not_null`)\n\n- `{model}` (owner `sales`) has failed: it found {rows} rows. Correct it."
    )


def test_an_alert_has_what_failed_and_slack_the_same_text(github: FakeGitHub, slack: Slack) -> None:
    alert(github, "failed", webhook=slack.webhook, incident=incident("retail.a", 3))
    (issue,) = open_alerts(github)
    assert issue.body.startswith(incident("retail.a", 3))
    assert slack.texts[0].endswith(incident("retail.a", 3))


def test_slack_hears_of_an_incident_once_and_of_the_next_one_in_the_same_issue(
    github: FakeGitHub, slack: Slack
) -> None:
    for model, rows in (("retail.a", 3), ("retail.a", 4), ("retail.b", 1)):
        alert(github, "failed", webhook=slack.webhook, incident=incident(model, rows))
    alert(github, "failed", webhook=slack.webhook)  # the job died before it knew more
    (issue,) = open_alerts(github)
    assert issue.body.startswith(f"{EARLIER}{incident('retail.b', 1)}")
    alert(github, "failed", webhook=slack.webhook, incident=incident("retail.b", 2))
    assert issue.body.startswith(incident("retail.b", 2))
    assert issue.body.count("First failed run: ") == issue.body.count("Latest failed run: ") == 1
    assert [text.partition("Failed: ")[2].partition("\n")[0] for text in slack.texts] == [
        "`retail.a` (`not_null`)",
        "`retail.b` (`not_null`)",
    ]


@pytest.mark.parametrize(
    ("minutes", "took"),
    [(0, "1 minute"), (59, "59 minutes"), (125, "2 hours 5 minutes"), (1440 * 2 + 60, "2 days 1 hour")],
)
def test_recovery_says_how_long_it_took(github: FakeGitHub, slack: Slack, minutes: int, took: str) -> None:
    alert(github, "failed")
    (issue,) = open_alerts(github)
    issue.created_at = f"{datetime.now(UTC) - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
    alert(github, "recovered", webhook=slack.webhook)
    assert f"The workflow succeeded after {took}: " in github.comments_on(issue)[-1]
    assert f"succeeds again after {took}: " in slack.texts[0]


@pytest.mark.parametrize("webhook", ["http://127.0.0.1:1/services/secret", "not a URL, but a secret"])
def test_a_failing_webhook_neither_fails_the_job_nor_appears_in_the_log(github: FakeGitHub, webhook: str) -> None:
    result = alert(github, "failed", webhook=webhook)
    assert "Posting to Slack failed" in result.output
    assert "secret" not in result.output
    assert len(open_alerts(github)) == 1


def test_an_error_status_of_slack_is_logged(github: FakeGitHub, slack: Slack) -> None:
    slack.status = 404
    assert "Posting to Slack failed: HTTP 404" in alert(github, "failed", webhook=slack.webhook).output
