"""`meshflow ci`: the commands of the workflows. Each command imports what it needs, as in meshflow.cli."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Any

import click

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
@click.option("--wait", default=3600.0, show_default=True, help="Seconds to wait for the prod lock.")
def deploy(sha: str, path: Path, gateway: str, approvals: int, wait: float) -> None:
    """Apply the approved pull request to prod, merge it, and delete its environment. Run in a checkout of main."""
    from meshflow.ci.deploy import deploy as deploy_pull

    deploy_pull(sha, path, gateway=gateway, approvals=approvals, wait=wait)


@ci.command()
@click.argument("state", type=click.Choice(["failed", "recovered"]))
@click.option("--workflow", required=True, help="Name of the workflow; each has its own issue.")
def alert(state: str, workflow: str) -> None:
    """Open or close the alert issue of a workflow, and post to Slack if MESHFLOW_SLACK_WEBHOOK is set."""
    from meshflow.ci.alert import failed, recovered

    (failed if state == "failed" else recovered)(workflow)


@ci.command()
@CLONE
@GATEWAY
def budget(path: Path, gateway: str) -> None:
    """Fail if the pull request would build more than config.yaml allows and doesn't have the label over-budget."""
    from meshflow.ci.plan import budget as enforce_budget

    enforce_budget(path, gateway)


@ci.command()
@CLONE
@GATEWAY
@click.option("--main", required=True, help="The commit of main that the pull request was merged with.")
@click.option("--budget", default="", metavar="TEXT", help="Output of `meshflow ci budget`: what was built.")
def report(path: Path, gateway: str, main: str, budget: str) -> None:
    """Post the data-diff comment on the pull request, or update it."""
    from meshflow.ci.report import report as report_changes

    report_changes(path, gateway, main, budget)


@ci.command()
@GATEWAY
def run(gateway: str) -> None:
    """Apply the working directory to prod if the two differ, then run what is due, holding the exclusive prod lock."""
    from meshflow.ci.run import run as run_prod

    run_prod(Path(), gateway)
