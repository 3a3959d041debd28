"""The plan of a pull request as SQLMesh's bot makes it, and the budget for what it may build."""

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
from meshflow.ci.gate import create_build_check

OVER_BUDGET_LABEL = "over-budget"
"""Somebody with the triage role sets it on a pull request to accept the cost."""


@dataclass(frozen=True)
class Backfill:
    """What a plan builds of one model. `intervals` is 1 for kinds that are not incremental."""

    model: str
    kind: str
    intervals: int


@dataclass(frozen=True)
class Limits:
    """Models and intervals that a pull request may build without the label."""

    models: int
    intervals: int

    @classmethod
    def from_config(cls, context: Context) -> "Limits":
        """The variables pr_models and pr_intervals. Raises click.ClickException if one is not an integer."""
        models, intervals = (context.config.variables.get(name) for name in ("pr_models", "pr_intervals"))
        if not (isinstance(models, int) and isinstance(intervals, int)):
            raise click.ClickException(
                f"The budget of pull requests is not two integers, but {models} and {intervals}: set the variables "
                "pr_models and pr_intervals in config.yaml"
            )
        return cls(models, intervals)


def load_bot(path: Path, gateway: str, client: Github | None = None) -> tuple[GithubController, Context]:
    """SQLMesh's bot for the event's pull request, and the project at `path` as the bot loads it on `gateway`.

    The budget and the report use the bot's own plans, so they describe exactly what it applies. The bot sends requests
    through `client`, by default with GITHUB_TOKEN. It prints nothing: the text of a model is untrusted on the console.
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

    SQLMesh records every hour for every kind, but computes a model that is not incremental once for all of them.
    """
    if not snapshot.is_model:
        return 1
    kind = snapshot.model.kind
    # SQLMesh doesn't call a CUSTOM kind incremental, but replace_by_key is.
    return intervals if kind.is_incremental or kind.is_custom else 1


@contextmanager
def clear_errors() -> Iterator[None]:
    """Raise click.ClickException if SQLMesh can't load or plan in the block."""
    try:
        yield
    except SQLMeshError as error:
        raise click.ClickException(f"SQLMesh can't plan the pull request: {error}") from None


def pull_request_backfills(bot: GithubController) -> list[Backfill]:
    """What the bot would build for the pull request."""
    try:
        return plan_backfills(bot.pr_plan)
    except NoChangesPlanError:  # the bot makes no environment for a pull request that changes no model
        return []


def plan_backfills(plan: Plan) -> list[Backfill]:
    """What applying `plan` would build, most intervals first."""
    if not plan.requires_backfill:
        return []
    missing = [(plan.snapshots[found.snapshot_id], len(found.intervals)) for found in plan.missing_intervals]
    backfills = [
        Backfill(snapshot.model.name, str(snapshot.model.kind.name.value), count_intervals(snapshot, intervals))
        for snapshot, intervals in missing
        if not snapshot.is_symbolic
    ]
    return sorted(backfills, key=lambda one: (-one.intervals, one.model))


def is_within(backfills: Sequence[Backfill], limits: Limits) -> bool:
    return len(backfills) <= limits.models and _total_intervals(backfills) <= limits.intervals


def format_usage(backfills: Sequence[Backfill], limits: Limits) -> str:
    """`3 of 25 models, 1,326 of 10,000 intervals`."""
    intervals = _total_intervals(backfills)
    return f"{len(backfills):,} of {limits.models:,} models, {intervals:,} of {limits.intervals:,} intervals"


def format_backfills(backfills: Sequence[Backfill], limits: Limits) -> str:
    """The usage of the budget and a table of the models to build, Markdown."""
    lines = [f"### Build budget: {format_usage(backfills, limits)}", ""]
    if backfills:
        lines += ["| model | kind | intervals |", "|---|---|--:|"]
        lines += [f"| {github.code(one.model)} | {one.kind} | {one.intervals:,} |" for one in backfills]
    else:
        lines += ["Nothing to build: the environment is up to date."]
    return "\n".join(lines)


def _total_intervals(backfills: Sequence[Backfill]) -> int:
    return sum(one.intervals for one in backfills)


def budget(path: Path, gateway: str) -> None:
    """Check the event's pull request, merged with main at `path`, against its budget. Nothing is applied.

    Writes the output `budget`, a line for `report`. Raises click.ClickException if the pull request is over budget
    without the label, which is commented on it, or if it has changed since the event.
    """
    # Read now: a re-run job gets the event of the first run, without labels that were set since.
    repository = github.connect()
    pull = repository.get_pull(github.event()["pull_request"]["number"])
    require_current(pull)
    with clear_errors():
        bot, context = load_bot(path, gateway)
        backfills = pull_request_backfills(bot)
    limits, allowed = Limits.from_config(context), OVER_BUDGET_LABEL in {label.name for label in pull.labels}
    try:
        enforce_limits(backfills, limits, allowed=allowed)
    except click.ClickException as error:
        text = f"{format_backfills(backfills, limits)}\n\n{error.message}."
        github.sticky_comment(repository, pull.number, "report", text)
        create_build_check(repository, pull.head.sha, "", "failure", text)
        raise


def require_current(pull: PullRequest) -> None:
    """Raises click.ClickException if `pull` is closed, or has another head than in the event."""
    if pull.state != "open" or pull.head.sha != github.event()["pull_request"]["head"]["sha"]:
        raise click.ClickException(f"Pull request {pull.number} was closed, or has a newer head: nothing is built")


def enforce_limits(backfills: Sequence[Backfill], limits: Limits, *, allowed: bool) -> None:
    """Write the budget to the job summary and the outputs.

    Raises click.ClickException if `backfills` exceed the limits and that is not `allowed`.
    """
    fits = is_within(backfills, limits)
    github.write_summary(format_backfills(backfills, limits))
    usage = format_usage(backfills, limits)
    if not fits and allowed:
        usage += f", over budget and allowed by the label {OVER_BUDGET_LABEL}"
    github.write_outputs(budget=usage)
    if not fits and not allowed:
        raise click.ClickException(
            f"Over budget: {usage}. Split the change, or have the label {OVER_BUDGET_LABEL} added; then re-run the job"
        )
