"""GitHub as a job of a workflow knows it: who asks is in the environment, what it says goes to comments and outputs."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import requests
from github import Auth, Github, GithubException
from github.Repository import Repository

BRANCH = "main"
"""What prod is built from, and the only base of pull requests that are let in."""

AUTHOR = "github-actions[bot]"
"""Who a job's token is. Only its comments and issues are ours: anybody can write our markers."""

LONGEST = 65_536
"""Characters in a comment, for GitHub."""


def connect() -> Repository:
    """The repository of the running job, asked with GITHUB_TOKEN.

    Raises click.ClickException if a variable of the job is missing.
    """
    # A job asks a few dozen times and writes twice: PyGithub's pauses, 1 s a write, are for more than that.
    client = Github(
        base_url=variable("GITHUB_API_URL"),
        auth=Auth.Token(variable("GITHUB_TOKEN")),
        per_page=100,
        seconds_between_requests=None,
        seconds_between_writes=None,
        lazy=True,
    )
    return client.get_repo(variable("GITHUB_REPOSITORY"))


def event() -> dict[str, Any]:
    """The payload of the event that started the workflow."""
    payload: dict[str, Any] = json.loads(Path(variable("GITHUB_EVENT_PATH")).read_text(encoding="utf-8"))
    return payload


def variable(name: str) -> str:
    """Raises click.ClickException if GitHub's variable `name` isn't set, or empty."""
    value = os.environ.get(name)
    if not value:
        raise click.ClickException(
            f"{name} isn't set: this command is for a job of GitHub Actions, see .github/workflows"
        )
    return value


def run_url() -> str:
    """The page of the running workflow."""
    return f"{variable('GITHUB_SERVER_URL')}/{variable('GITHUB_REPOSITORY')}/actions/runs/{variable('GITHUB_RUN_ID')}"


@contextmanager
def clear_errors() -> Iterator[None]:
    """Raise click.ClickException for whatever GitHub says no to in the block, or if it can't be reached."""
    try:
        yield
    except GithubException as error:
        raise click.ClickException(f"GitHub said {rejection(error)}") from None
    except requests.RequestException as error:
        raise click.ClickException(f"GitHub at {variable('GITHUB_API_URL')}: {type(error).__name__}") from None


def rejection(error: GithubException) -> str:
    """What GitHub answered, such as `405: Base branch was modified`, in one line."""
    said = error.data.get("message") if isinstance(error.data, dict) else None
    return f"{error.status}: {' '.join(str(said or 'nothing more').split())}"


def sticky_comment(repository: Repository, number: int, marker: str, body: str, *, only_update: bool = False) -> None:
    """Say `body`, Markdown, on pull request `number` in the one comment with the hidden `marker`, updated in place.

    With `only_update` it isn't made if there is none. What comes from the pull request has to be in code().
    """
    head = f"<!-- meshflow {marker} -->"
    text = f"{head}\n{body}"
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 500]}\n\n… and more: {run_url()}"
    issue = repository.get_issue(number)
    for comment in issue.get_comments():
        if comment.user.login == AUTHOR and comment.body.startswith(head):
            comment.edit(text)
            return
    if not only_update:
        issue.create_comment(text)


def code(text: str) -> str:
    """`text` as code on one line of a comment or a table: no markup, link or mention in it has any effect.

    Character references can't be structure in Markdown, and GitHub doesn't look for @mentions and #12 in <code>.
    """
    plain = "".join(char if char.isalnum() and char.isascii() else f"&#{ord(char)};" for char in " ".join(text.split()))
    return f"<code>{plain}</code>"


def write_outputs(**outputs: str) -> None:
    """Hand `outputs` to the jobs and steps that follow; print them where there are none."""
    target = os.environ.get("GITHUB_OUTPUT")
    if not target:
        for name, value in outputs.items():
            click.echo(f"{name}={value}")
        return
    with Path(target).open("a", encoding="utf-8") as file:
        for name, value in outputs.items():
            end = f"end_{uuid4().hex}"  # which no value can contain: `name=value` would let a line break add an output
            file.write(f"{name}<<{end}\n{value}\n{end}\n")


def write_summary(markdown: str) -> None:
    """Add `markdown` to the page of the running workflow; print it where there is none."""
    if target := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(f"{markdown}\n")
    else:
        click.echo(markdown)
