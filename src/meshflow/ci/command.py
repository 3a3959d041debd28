"""`meshflow ci`: the commands of the workflows. Each command imports what it needs, as in meshflow.cli."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Any

import click

from meshflow.options import SECONDS

APPROVALS = click.option(
    "--approvals", type=click.IntRange(1), default=1, show_default=True, help="Number of required approvals."
)
GATEWAY = click.option("--gateway", default="snowflake", show_default=True, help="SQLMesh gateway.")


class ErrorReportingGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of GitHub becomes one line."""
        from meshflow.ci.github import clear_errors

        with clear_errors():
            return super().invoke(ctx)


@click.group(cls=ErrorReportingGroup)
def ci() -> None:
    """Commands used by the CI/CD workflows in .github/workflows. They run in jobs of GitHub Actions."""


CLONE = click.option(
    "--path",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A clone with the pull request's head and main.",
)


NUMBER = click.option("--number", required=True, type=int, help="Number of the pull request.")
OUTPUT = click.option(
    "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File for the result, JSON."
)


@ci.command()
@CLONE
def admit(path: Path) -> None:
    """Check whether the pull request's environment may be built. Merges it with main; outputs main and sha if so."""
    from meshflow.ci.admit import admit as admit_pull

    admit_pull(path)


@ci.command()
@CLONE
@click.option("--main", required=True, help="A commit of main.")
@click.option("--sha", required=True, help="The head of the pull request.")
def merge(path: Path, main: str, sha: str) -> None:
    """Merge the two commits that `admit` has output, in another clone."""
    from meshflow.ci.checkout import Checkout, ConflictError

    try:
        Checkout.merge(path, main, sha)
    except ConflictError:
        raise click.ClickException(f"{main} and {sha} conflict") from None


@ci.command()
@APPROVALS
def gate(approvals: int) -> None:
    """Check whether the pull request with the comment `/deploy` may be deployed. Outputs sha if so."""
    from meshflow.ci.gate import gate as gate_pull

    gate_pull(approvals)


@ci.command()
@click.option("--sha", required=True, help="The commit that the gate accepted.")
@CLONE
@GATEWAY
@APPROVALS
@click.option("--wait", type=SECONDS, default=3600.0, show_default=True, help="Seconds to wait for the prod lock.")
def deploy(sha: str, path: Path, gateway: str, approvals: int, wait: float) -> None:
    """Apply the approved pull request to prod, merge it, and delete its environment. Run in a checkout of main."""
    from meshflow.ci.deploy import deploy as deploy_pull

    deploy_pull(sha, path, gateway=gateway, approvals=approvals, wait=wait)


@ci.command()
@click.option(
    "--path",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout.  [default: the working directory]",
)
@GATEWAY
@click.option("--no-gaps", is_flag=True, help="Fail if a table would lack intervals that prod has.")
def apply(path: Path, gateway: str, *, no_gaps: bool) -> None:
    """Apply a checkout to prod. `deploy` runs it in a process without GitHub's token."""
    from meshflow.ci.prod import apply as apply_checkout

    apply_checkout(path, gateway, no_gaps=no_gaps)


@ci.command()
@click.argument("environment")
@GATEWAY
def invalidate(environment: str, gateway: str) -> None:
    """Let the next `meshflow ci janitor` or run drop ENVIRONMENT."""
    from meshflow.ci.prod import invalidate as invalidate_environment

    invalidate_environment(environment, gateway)


@ci.command()
@GATEWAY
def janitor(gateway: str) -> None:
    """Drop expired environments, and tables that no environment has used for a week."""
    from meshflow.ci.prod import drop_expired

    drop_expired(gateway)


@ci.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@GATEWAY
def export(file: Path, gateway: str) -> None:
    """Write SQLMesh's state to FILE. `sqlmesh state import` reads it."""
    from meshflow.ci.prod import export_state

    export_state(file, gateway)


@ci.command()
def rebuild() -> None:
    """Start pr-environment.yml for the pull request of a review that it waits for, or else for all that are open."""
    from meshflow.ci.rebuild import rebuild as rebuild_pulls

    rebuild_pulls()


@ci.command()
@click.argument("state", type=click.Choice(["failed", "recovered"]))
@click.option("--workflow", required=True, help="Name of the workflow; each has its own issue.")
@click.option("--incident", default="", help="What failed, an output of `meshflow ci run`.")
def alert(state: str, workflow: str, incident: str) -> None:
    """Open or close the alert issue of a workflow, and post to Slack if MESHFLOW_SLACK_WEBHOOK is set."""
    from meshflow.ci.alert import failed, recovered

    if state == "failed":
        failed(workflow, incident)
    else:
        recovered(workflow)


@ci.command()
@NUMBER
@click.option("--sha", required=True, help="The commit that `admit` has output.")
def current(number: int, sha: str) -> None:
    """Fail if the pull request was closed or has a newer head. Outputs over_budget: whether it has the label."""
    from meshflow.ci.report import check_current

    check_current(number, sha)


@ci.command()
@CLONE
@OUTPUT
def lint(path: Path, output: Path) -> None:
    """Lint the pull request and run its unit tests. Needs no key and no token."""
    from meshflow.ci.lint import lint_and_test

    lint_and_test(path, output)


@ci.command()
@CLONE
@GATEWAY
@NUMBER
@OUTPUT
@click.option("--over-budget", type=bool, default=False, help="Build more than config.yaml allows.")
def build(path: Path, gateway: str, number: int, output: Path, over_budget: bool) -> None:  # noqa: FBT001
    """Build the pull request's environment within the budget, and compare it with prod. Needs no token."""
    from meshflow.ci.build import build as build_environment

    build_environment(path, gateway, number, output, over_budget=over_budget)


@ci.command()
@NUMBER
@click.option("--sha", required=True, help="The commit that was evaluated.")
@click.option("--main", required=True, help="The commit of main that it was merged with.")
@click.option("--results", required=True, type=click.Path(path_type=Path), help="Folder with the jobs' outputs.")
@click.option("--test", required=True, help="Result of the job with `lint`.")
@click.option("--build", required=True, help="Result of the job with `build`.")
@click.option("--documents-only", type=bool, default=False, help="Output of `admit`: nothing was evaluated.")
def report(number: int, sha: str, main: str, results: Path, test: str, build: str, documents_only: bool) -> None:  # noqa: FBT001, PLR0913, PLR0917
    """Write or update the comment on the pull request, and the check PR environment. Loads nothing of the change."""
    from meshflow.ci.report import Jobs
    from meshflow.ci.report import report as report_results

    report_results(number, sha, main, results, Jobs(test, build), documents_only=documents_only)


@ci.command()
@GATEWAY
def run(gateway: str) -> None:
    """Apply the working directory to prod if the two differ, then run what is due, holding the exclusive prod lock."""
    from meshflow.ci.run import run as run_prod

    run_prod(Path(), gateway)
