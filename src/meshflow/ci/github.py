"""GitHub's API and files for a job of a workflow: the event comes in, comments, outputs and summaries go out."""

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
"""The branch that prod is built from, and the only base of pull requests that are accepted."""

BOT_LOGIN = "github-actions[bot]"
"""The author of what a job writes. Only its comments and issues are ours: anybody can write our markers."""

MAX_COMMENT_CHARACTERS = 65_536
"""GitHub's maximum."""


def connect() -> Repository:
    """The repository of the running job, accessed with GITHUB_TOKEN.

    Raises click.ClickException if a variable of the job is missing.
    """
    # A job reads a few dozen times and writes twice. PyGithub's pauses, 1 s per write, are meant for more than that.
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
    """Raises click.ClickException if GitHub's variable `name` is not set, or empty."""
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
    """Raise click.ClickException, one line, if a request in the block fails or GitHub can't be reached."""
    try:
        yield
    except GithubException as error:
        raise click.ClickException(f"GitHub returned {describe_error(error)}") from None
    except requests.RequestException as error:
        raise click.ClickException(f"GitHub at {variable('GITHUB_API_URL')}: {type(error).__name__}") from None


def describe_error(error: GithubException) -> str:
    """Status and message of an error response in one line, such as `405: Base branch was modified`."""
    message = error.data.get("message") if isinstance(error.data, dict) else None
    return f"{error.status}: {' '.join(str(message or 'no message').split())}"


def sticky_comment(repository: Repository, number: int, marker: str, body: str, *, only_update: bool = False) -> None:
    """Write `body`, Markdown, to the one comment on pull request `number` that has the hidden `marker`.

    The comment is updated, or created unless `only_update`. Text that comes from the pull request has to be in code().
    """
    head = f"<!-- meshflow {marker} -->"
    text = f"{head}\n{body}"
    if len(text) > MAX_COMMENT_CHARACTERS:
        text = f"{text[: MAX_COMMENT_CHARACTERS - 500]}\n\n… The rest is omitted, see {run_url()}"
    issue = repository.get_issue(number)
    for comment in issue.get_comments():
        if comment.user.login == BOT_LOGIN and comment.body.startswith(head):
            comment.edit(text)
            return
    if not only_update:
        issue.create_comment(text)


def code(text: str) -> str:
    """`text` as code on one line of a comment or a table: no markup, link or mention in it has any effect.

    Markdown doesn't interpret character references, and GitHub links no @mentions and #12 in <code>.
    """
    plain = "".join(char if char.isalnum() and char.isascii() else f"&#{ord(char)};" for char in " ".join(text.split()))
    return f"<code>{plain}</code>"


def write_outputs(**outputs: str) -> None:
    """Pass `outputs` to later jobs and steps; print them outside of GitHub Actions."""
    target = os.environ.get("GITHUB_OUTPUT")
    if not target:
        for name, value in outputs.items():
            click.echo(f"{name}={value}")
        return
    with Path(target).open("a", encoding="utf-8") as file:
        for name, value in outputs.items():
            end = f"end_{uuid4().hex}"  # no value can contain it: with `name=value`, a line break could add an output
            file.write(f"{name}<<{end}\n{value}\n{end}\n")


def write_summary(markdown: str) -> None:
    """Add `markdown` to the job summary; print it outside of GitHub Actions."""
    if target := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(f"{markdown}\n")
    else:
        click.echo(markdown)
