"""The plan of a pull request as SQLMesh's bot makes it, and whether it is within what anybody may build."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from github import Github
from github.PullRequest import PullRequest
from sqlglot import exp
from sqlmesh.core.console import MarkdownConsole, set_console
from sqlmesh.core.context import Context
from sqlmesh.core.plan import Plan
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.integrations.github.cicd.controller import GithubController
from sqlmesh.utils.errors import NoChangesPlanError, SQLMeshError

from meshflow.ci import github
from meshflow.ci.gate import build_check

LABEL = "over-budget"
"""With it on a pull request, somebody who may label has agreed to the cost."""


@dataclass(frozen=True)
class Work:
    """What a plan builds of one model: `intervals` are 1 for kinds that are computed whole."""

    model: str
    kind: str
    intervals: int


@dataclass(frozen=True)
class Limits:
    """Models and intervals that a pull request may build without the label."""

    models: int
    intervals: int

    @classmethod
    def of(cls, context: Context) -> "Limits":
        """The variables pr_models and pr_intervals. Raises click.ClickException if one isn't a number."""
        models, intervals = (context.config.variables.get(name) for name in ("pr_models", "pr_intervals"))
        if not (isinstance(models, int) and isinstance(intervals, int)):
            raise click.ClickException(
                f"The budget of pull requests needs numbers, not {models} and {intervals}: set the variables pr_models "
                "and pr_intervals in config.yaml"
            )
        return cls(models, intervals)


def bot(path: Path, gateway: str, client: Github | None = None) -> tuple[GithubController, Context]:
    """SQLMesh's own bot for the pull request of the event, and the project at `path` as it loads it on `gateway`.

    Its plans are ours, so that what is validated and told is what it applies. It asks GitHub through `client`, by default
    with GITHUB_TOKEN, and says nothing on the way: a model's text isn't to be trusted on the console either.
    """
    set_console(MarkdownConsole(width=1000, warning_capture_only=True, error_capture_only=True))
    context = Context(paths=str(path), gateway=gateway)
    token = "" if client else github.variable("GITHUB_TOKEN")
    return GithubController(paths=path, token=token, client=client, context=context), context


def table_name(name: str) -> str:
    """`retail.dim_product` for SQLMesh's name of a model."""
    table = exp.to_table(name)
    return f"{table.db}.{table.name}".lower()


def count_intervals(snapshot: Snapshot, intervals: int) -> int:
    """How many of `intervals` a model really processes.

    SQLMesh notes every hour for every kind, and computes those that aren't incremental once for all of them.
    """
    return intervals if snapshot.is_model and snapshot.model.kind.is_incremental else 1


@contextmanager
def clear_errors() -> Iterator[None]:
    """Raise click.ClickException for whatever SQLMesh can't load or plan in the block."""
    try:
        yield
    except SQLMeshError as error:
        raise click.ClickException(f"SQLMesh can't plan the pull request: {error}") from None


def planned(controller: GithubController) -> list[Work]:
    """What the bot would build for the pull request."""
    try:
        return work(controller.pr_plan)
    except NoChangesPlanError:  # it makes no environment for a pull request that leaves the models alone
        return []


def work(plan: Plan) -> list[Work]:
    """What applying `plan` would build, the most first."""
    if not plan.requires_backfill:
        return []
    missing = [(plan.snapshots[found.snapshot_id], len(found.intervals)) for found in plan.missing_intervals]
    found = [
        Work(snapshot.model.name, str(snapshot.model.kind.name.value), count_intervals(snapshot, intervals))
        for snapshot, intervals in missing
        if not snapshot.is_symbolic
    ]
    return sorted(found, key=lambda one: (-one.intervals, one.model))


def within(found: Sequence[Work], limits: Limits) -> bool:
    return len(found) <= limits.models and _total(found) <= limits.intervals


def in_words(found: Sequence[Work], limits: Limits) -> str:
    """`3 models of 25, 1,326 intervals of 10,000`."""
    return f"{len(found):,} models of {limits.models:,}, {_total(found):,} intervals of {limits.intervals:,}"


def table(found: Sequence[Work], limits: Limits) -> str:
    """What is to be built, in Markdown."""
    lines = [f"### To build: {in_words(found, limits)}", ""]
    if found:
        lines += ["| model | kind | intervals |", "|---|---|--:|"]
        lines += [f"| {github.code(one.model)} | {one.kind} | {one.intervals:,} |" for one in found]
    else:
        lines += ["Nothing: the environment has all of it."]
    return "\n".join(lines)


def _total(found: Sequence[Work]) -> int:
    return sum(one.intervals for one in found)


def budget(path: Path, gateway: str) -> None:
    """Hold the event's pull request, merged with main at `path`, to what it may build. Nothing is applied.

    Writes the output `budget`, a line for `report`. Raises click.ClickException if it is over and hasn't the label, or
    isn't what the event was about any more, having said so on the pull request.
    """
    # Asked now: a job that is run again still has the event of the first time, without a label set since.
    repository = github.connect()
    pull = repository.get_pull(github.event()["pull_request"]["number"])
    require_current(pull)
    with clear_errors():
        controller, context = bot(path, gateway)
        found = planned(controller)
    limits, allowed = Limits.of(context), LABEL in {label.name for label in pull.labels}
    try:
        validate(found, limits, allowed=allowed)
    except click.ClickException as error:
        text = f"{table(found, limits)}\n\n{error.message}."
        github.sticky_comment(repository, pull.number, "report", text)
        build_check(repository, pull.head.sha, "", "failure", text)
        raise


def require_current(pull: PullRequest) -> None:
    """Raises click.ClickException if `pull` is closed, or has another head than in the event."""
    if pull.state != "open" or pull.head.sha != github.event()["pull_request"]["head"]["sha"]:
        raise click.ClickException(f"Pull request {pull.number} has been closed or pushed to: nothing is built")


def validate(found: Sequence[Work], limits: Limits, *, allowed: bool) -> None:
    """Tell what is to be built. Raises click.ClickException if it is over the limits and not `allowed`."""
    fits = within(found, limits)
    github.write_summary(table(found, limits))
    told = in_words(found, limits) + ("" if fits or not allowed else f", over budget and allowed by the label {LABEL}")
    github.write_outputs(budget=told)
    if not fits and not allowed:
        raise click.ClickException(
            f"Over budget: {told}. Change less at once, or have the label {LABEL} set and run the job again"
        )
