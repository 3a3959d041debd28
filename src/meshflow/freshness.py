"""The freshness check. It reads SQLMesh's state only, so it doesn't disturb a load or a run."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
from sqlmesh.core.context import Context
from sqlmesh.utils.date import to_datetime


@dataclass(frozen=True)
class Progress:
    """How far an environment is processed: the end of the last interval, UTC, and the model that is furthest behind."""

    until: datetime
    model: str


def progress(environment: str, gateway: str) -> Progress:
    """How far every model of `environment` has processed its sources.

    Stopped loads show as well as stopped runs: without finished loads the signal `source_loaded` passes no interval.
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
        raise click.ClickException(
            f"'{environment}' on gateway {gateway} has never processed an interval: see the log of `sqlmesh run`"
        )
    model = min(ends, key=lambda name: (ends[name], name))
    return Progress(ends[model], model.replace('"', "").lower())


def require_fresh(environment: str, gateway: str, after: timedelta) -> Progress:
    """Return the progress of `environment`. Raises click.ClickException if it is more than `after` behind now."""
    found = progress(environment, gateway)
    age = datetime.now(UTC) - found.until
    if age > after:
        hours = age.total_seconds() / 3600
        until = f"{found.until:%Y-%m-%d %H:%M} UTC, {hours:.1f} h ago"
        raise click.ClickException(
            f"{environment} on gateway {gateway} is processed until {until}; {found.model} is furthest behind. Check "
            "the logs of `meshflow load` and `sqlmesh run` for failures or a stopped scheduler: "
            "docs/runbooks/late-data.md"
        )
    return found
