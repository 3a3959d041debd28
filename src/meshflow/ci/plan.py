"""What a plan builds, and the budget for it."""

from collections.abc import Sequence

import click
from sqlmesh.core.context import Context
from sqlmesh.core.plan import Plan

from meshflow.ci.result import Backfill, Limits
from meshflow.project import count_intervals


def read_limits(context: Context) -> Limits:
    """The variables pr_models and pr_intervals. Raises click.ClickException if one is not an integer."""
    models, intervals = (context.config.variables.get(name) for name in ("pr_models", "pr_intervals"))
    if not (isinstance(models, int) and isinstance(intervals, int)):
        raise click.ClickException(
            f"The budget of pull requests is not two integers, but {models} and {intervals}: set the variables "
            "pr_models and pr_intervals in config.yaml"
        )
    return Limits(models, intervals)


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
    return len(backfills) <= limits.models and sum(one.intervals for one in backfills) <= limits.intervals
