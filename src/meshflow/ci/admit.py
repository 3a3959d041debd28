"""May a pull request's environment be built? It means to run what it brings, with credentials for Snowflake."""

import base64
import re
from fnmatch import fnmatchcase

import click
from github.GitCommit import GitCommit
from github.PullRequest import PullRequest
from github.Repository import Repository

from meshflow.ci.gate import environment, read_reviews, same_repository, trial_merge
from meshflow.ci.github import BRANCH, code, connect, event, sticky_comment, write_outputs

PLAIN = ("models/*.sql", "audits/*.sql", "tests/*", "seeds/*.csv", "external_models/*.yaml", "docs/*", "*.md")
"""Files that are no code by their name, in any subfolder. Everything else is: Python, config.yaml, workflows, locks …"""

RUNS = re.compile(
    r"\{\{|\{%|\bJINJA_|\bSEED\b|@(?!(as_of_date|cadence|end_dtntz|start_dtntz|this_model)\b)", re.IGNORECASE
)
"""What makes SQL run or read something on the machine that plans: Jinja, which SQLMesh doesn't confine; macros, whose
arguments it evaluates as Python; seeds, which it reads from any path. Plain variables don't."""

READS = re.compile(r"\{\{|\{%|\bpath\s*['\"]?\s*:")
"""The same in YAML: unit tests and external models are rendered with Jinja, and a test may read its rows from a file."""

FILES = 300
"""Of more changed files GitHub tells no names."""

SHOWN = 20


def admit() -> None:
    """Write the outputs for a build, `admitted` being false for a fork, and say on the pull request why not.

    Raises click.ClickException if it may be built once something is done about it.
    """
    repository = connect()
    pull = repository.get_pull(event()["pull_request"]["number"])
    if pull.state != "open" or pull.base.ref != BRANCH:
        click.echo(f"Pull request {pull.number} is closed, or goes to another branch than {BRANCH}: nothing to build")
        write_outputs(admitted="false")
        return
    if not same_repository(repository, pull):
        why = "It comes from a fork, whose code never gets credentials"
        _say(repository, pull, f"{why}: somebody who may write reads it, and pushes it to a branch of this repository.")
        write_outputs(admitted="false")
        return
    merge = trial_merge(repository, pull)
    if merge is None:
        why = f"There is no merge with the newest {code(BRANCH)} yet"
        _say(repository, pull, f"{why}: resolve the conflict, or re-run this job if there is none.")
        raise click.ClickException(f"Pull request {pull.number} has no trial merge with {BRANCH}")
    sha = merge.parents[1].sha
    found = code_files(repository, merge)
    if found:
        _require_approval(repository, pull, sha, found)
    sticky_comment(
        repository, pull.number, "admit", f"`{sha}` is being built as `{environment(pull)}`.", only_update=True
    )
    write_outputs(admitted="true", sha=sha, merge_sha=merge.sha, environment=environment(pull))


def code_files(repository: Repository, merge: GitCommit) -> list[str]:
    """What `merge` changes on main that would run with credentials; `…` if that are too many files to be told."""
    # By commits, which can't change meanwhile, and not the files of the pull request, which can.
    files = repository.compare(merge.parents[0].sha, merge.sha).files
    if len(files) >= FILES:
        return ["…"]
    entries = {entry.path: entry for entry in repository.get_git_tree(merge.tree.sha, recursive=True).tree}
    found = set()
    for path in {name for file in files for name in (file.filename, file.previous_filename) if name}:
        entry = entries.get(path)
        # A symbolic link or a submodule is whatever it leads to.
        if not is_plain(path) or (entry and entry.mode != "100644"):
            found.add(path)
        elif entry and not path.endswith((".md", ".csv")):
            text = base64.b64decode(repository.get_git_blob(entry.sha).content).decode(errors="replace")
            if (READS if path.startswith(("tests/", "external_models/")) else RUNS).search(text):
                found.add(path)
    return sorted(found)


def is_plain(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in PLAIN)


def _require_approval(repository: Repository, pull: PullRequest, sha: str, found: list[str]) -> None:
    reviews = read_reviews(repository, pull, sha)
    if reviews.approving and not reviews.objecting:
        return
    shown = [f"- {code(path)}" for path in found[:SHOWN]]
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
