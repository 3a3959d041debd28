"""`meshflow ci`: the commands of the workflows. Imports wait until a command needs them, as in meshflow.cli."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Any

import click

APPROVALS = click.option(
    "--approvals", type=click.IntRange(1), default=1, show_default=True, help="How many people have to approve."
)
GATEWAY = click.option("--gateway", default="snowflake", show_default=True, help="SQLMesh's gateway.")


class Jobs(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what GitHub says no to is one line."""
        from meshflow.ci.github import clear_errors

        with clear_errors():
            return super().invoke(ctx)


@click.group(cls=Jobs)
def ci() -> None:
    """What the workflows in .github/workflows ask, decide and say. Made for jobs of GitHub Actions."""


CHANGE = click.option(
    "--path",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A clone with the pull request's head and main.",
)


@ci.command()
@CHANGE
def admit(path: Path) -> None:
    """May the environment of the event's pull request be built? Merges it with main; outputs main and sha if so."""
    from meshflow.ci.admit import admit as admit_pull

    admit_pull(path)


@ci.command()
@CHANGE
@click.option("--main", required=True, help="A commit of main.")
@click.option("--sha", required=True, help="The head of the pull request.")
def merge(path: Path, main: str, sha: str) -> None:
    """Merge the two commits in a clone, as admit has done in its own."""
    from meshflow.ci.checkout import Checkout, ConflictError

    try:
        Checkout.merged(path, main, sha)
    except ConflictError:
        raise click.ClickException(f"{main} and {sha} conflict") from None


@ci.command()
@APPROVALS
def gate(approvals: int) -> None:
    """May the pull request with the comment `/deploy` be deployed? Outputs sha if so."""
    from meshflow.ci.gate import gate as gate_pull

    gate_pull(approvals)


@ci.command()
@click.option("--sha", required=True, help="The head that was admitted by the gate.")
@CHANGE
@GATEWAY
@APPROVALS
@click.option("--wait", default=3600.0, show_default=True, help="Seconds to wait for others to be done with prod.")
def deploy(sha: str, path: Path, gateway: str, approvals: int, wait: float) -> None:
    """Apply the approved pull request to prod, merge it, and give up its environment. Called in a checkout of main."""
    from meshflow.ci.deploy import deploy as deploy_pull

    deploy_pull(sha, path, gateway=gateway, approvals=approvals, wait=wait)


@ci.command()
@click.argument("state", type=click.Choice(["failed", "recovered"]))
@click.option("--workflow", required=True, help="Its name: there is one issue for each.")
def alert(state: str, workflow: str) -> None:
    """Open the issue of a workflow that failed, or close it, and tell Slack if MESHFLOW_SLACK_WEBHOOK is set."""
    from meshflow.ci.alert import failed, recovered

    (failed if state == "failed" else recovered)(workflow)


@ci.command()
@CHANGE
@GATEWAY
def budget(path: Path, gateway: str) -> None:
    """Fail if the event's pull request would build more than config.yaml allows and has no label over-budget."""
    from meshflow.ci.plan import budget as hold_to_budget

    hold_to_budget(path, gateway)


@ci.command()
@CHANGE
@GATEWAY
@click.option("--main", required=True, help="The commit of main that it was merged with.")
@click.option("--budget", default="", metavar="TEXT", help="What `meshflow ci budget` wrote: what has been built.")
def report(path: Path, gateway: str, main: str, budget: str) -> None:
    """Tell on the event's pull request what its environment changes, in one comment that is updated in place."""
    from meshflow.ci.report import report as report_changes

    report_changes(path, gateway, main, budget)


@ci.command()
@GATEWAY
def run(gateway: str) -> None:
    """Bring prod to what the working directory says if it isn't there, then compute what is due, alone with prod."""
    from meshflow.ci.run import run as run_prod

    run_prod(Path(), gateway)
