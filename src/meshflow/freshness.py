"""Has the warehouse stopped moving? Asked of SQLMesh's state alone, so it doesn't disturb a load or a run."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
from sqlmesh.core.context import Context
from sqlmesh.utils.date import to_datetime


@dataclass(frozen=True)
class Progress:
    """Until when an environment is processed, UTC, and the model that is furthest behind."""

    until: datetime
    model: str


def progress(environment: str, gateway: str) -> Progress:
    """Until when every model of `environment` has processed what loaded.

    A dead load shows as much as a dead run: without finished loads the signal `source_loaded` lets no interval through.
    Raises click.ClickException if the environment has never been built.
    """
    context = Context(paths=".", gateway=gateway, load=False)
    built = context.state_reader.get_environment(environment)
    if built is None:
        raise click.ClickException(
            f"There is no environment '{environment}' on gateway {gateway}: "
            f"`sqlmesh --gateway {gateway} plan {environment}` builds it"
        )
    ends = {
        snapshot.name: to_datetime(snapshot.intervals[-1][1])
        for snapshot in context.state_reader.get_snapshots(built.snapshots).values()
        if snapshot.is_model and not snapshot.is_symbolic and snapshot.intervals
    }
    if not ends:
        raise click.ClickException(f"Nothing in '{environment}' has ever been processed on gateway {gateway}")
    model = min(ends, key=lambda name: (ends[name], name))
    return Progress(ends[model], model.replace('"', "").lower())


def require_fresh(environment: str, gateway: str, after: timedelta) -> Progress:
    """Raises click.ClickException if `environment` has stood still for longer than `after`."""
    found = progress(environment, gateway)
    age = datetime.now(UTC) - found.until
    if age > after:
        hours = age.total_seconds() / 3600
        until = f"{found.until:%Y-%m-%d %H:%M} UTC, {hours:.1f} h ago"
        raise click.ClickException(
            f"{environment} on gateway {gateway} is processed until {until}; {found.model} is furthest behind. Look at "
            f"the logs of `meshflow load` and `sqlmesh run`: has the scheduler stopped, or does one of them fail? "
            f"docs/runbooks/late-data.md"
        )
    return found
