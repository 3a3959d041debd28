"""Seeds whose tables a plan adopts: they have the rows of the checkout's files.

SQLMesh identifies a seed by the CRC-32 of each column, and anybody can write a file that has the same. SQLMesh's state
doesn't have the rows.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import click
from sqlglot import exp
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import pandas_to_sql
from sqlmesh.core.plan import Plan
from sqlmesh.core.snapshot import Snapshot

from meshflow.names import table_name

BATCH = 1_000
"""Rows per statement: Snowflake takes 16,384, and a megabyte of text."""

RUNBOOK = "docs/runbooks/state.md"


def require_rows(context: Context, plan: Plan) -> None:
    """Raise click.ClickException, naming them, if seeds that the plan adopts have other rows than their files.

    It adopts what is built already and isn't in the environment yet.
    """
    shown = context.state_reader.get_environment(plan.environment.name)
    known = {one.snapshot_id for one in shown.snapshots} if shown else set()
    adopted = [one for one in plan.snapshots.values() if one.is_seed and one.intervals and one.snapshot_id not in known]
    if other := [
        table_name(one.name) for one in adopted if Counter(_in_table(context, one)) != Counter(_in_file(context, one))
    ]:
        raise click.ClickException(
            f"The tables of {', '.join(sorted(other))} have other rows than their files, though the fingerprints are "
            f"equal. Somebody may have forged one in a pull request: see {RUNBOOK}"
        )


def _in_table(context: Context, seed: Snapshot) -> Iterator[tuple[Any, ...]]:
    yield from context.engine_adapter.fetchall(
        _as_text(seed.model, exp.to_table(seed.table_name())), quote_identifiers=True
    )


def _in_file(context: Context, seed: Snapshot) -> Iterator[tuple[Any, ...]]:
    """The rows of the file, with the types of the engine."""
    model: Any = seed.model
    for frame in model.render_seed():
        for query in pandas_to_sql(frame, model.columns_to_types, BATCH):
            yield from context.engine_adapter.fetchall(_as_text(model, query.subquery("file")), quote_identifiers=True)


def _as_text(model: Any, rows: exp.Table | exp.Subquery) -> exp.Select:
    """All columns of the rows, as the engine writes them."""
    return exp.select(*(exp.cast(exp.column(name), "VARCHAR") for name in model.columns_to_types)).from_(rows)
