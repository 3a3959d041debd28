"""GitHub's API and files for a job of a workflow: the event comes in, comments, outputs and summaries go out."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click
import requests
from github import Auth, Github, GithubException
from github.Issue import Issue
from github.IssueComment import IssueComment
from github.Repository import Repository

if TYPE_CHECKING:
    from github.NamedUser import NamedUser
    from github.Organization import Organization

BRANCH = "main"
"""The branch that prod is built from, and the only base of pull requests that are accepted."""

BOT_LOGIN = "github-actions[bot]"
"""The author of what a job writes. Only its comments and issues are ours: anybody can write our markers."""

MAX_COMMENT_CHARACTERS = 65_536
"""GitHub's maximum."""

MAX_SPAN_CHARACTERS = 300
"""Of a text in code()."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Instead of control characters, and of those that change the direction of text."""


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
    """The payload of the event that started the workflow.

    pr-environment.yml is also dispatched with number and head of a pull request. They are then in the payload as in an
    event of that pull request.
    Raises click.ClickException if the number is not one.
    """
    payload: dict[str, Any] = json.loads(Path(variable("GITHUB_EVENT_PATH")).read_text(encoding="utf-8"))
    if inputs := payload.get("inputs"):
        number = inputs["number"]
        if not re.fullmatch(r"[1-9][0-9]{0,9}", number):
            raise click.ClickException(f"{number!r} is not the number of a pull request")
        payload["pull_request"] = {"number": int(number), "head": {"sha": inputs["sha"]}}
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
        if is_ours(comment) and (comment.body or "").startswith(head):
            comment.edit(text)
            return
    if not only_update:
        issue.create_comment(text)


def is_ours(written: Issue | IssueComment) -> bool:
    """Whether a job wrote the issue or comment. Anybody can write our titles and markers."""
    # PyGithub's type has no None for a deleted account.
    author: NamedUser | Organization | None = written.user
    return author is not None and author.login == BOT_LOGIN


def code(text: str) -> str:
    """`text` as a code span on one line of a comment or a table: no markup, link or mention in it has any effect.

    The fence is longer than any run of backticks in `text`. A table would split at a pipe, even in a span, unless a
    backslash precedes it.
    """
    shown = "".join(char if char.isprintable() else REPLACEMENT for char in " ".join(text.split())) or " "
    shown = re.sub(r"\\*\|", r"\\|", _shorten(shown, MAX_SPAN_CHARACTERS))
    fence = _fence(shown, 1)
    padding = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def plain(text: str) -> str:
    """`text` as it is if it is a number or words, otherwise code()."""
    return text if re.fullmatch(r"[A-Za-z][A-Za-z :,-]{,80}|-?[\d,]{1,40}(\.\d{1,40})?|", text) else code(text)


def fenced(text: str, language: str = "") -> str:
    """`text` as a code block. It must start a line, and ends with one."""
    shown = "".join(char if char.isprintable() or char == "\n" else REPLACEMENT for char in text)
    fence = _fence(shown, 3)
    return f"{fence}{language}\n{shown}\n{fence}"


def _fence(text: str, length: int) -> str:
    return "`" * max([length, *(1 + len(run) for run in re.findall("`+", text))])


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def count(things: int | Sequence[object], noun: str) -> str:
    """`1 model`, `2 models`."""
    number = things if isinstance(things, int) else len(things)
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
