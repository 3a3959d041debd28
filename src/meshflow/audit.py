"""Every audit of prod, over all of its history.

`sqlmesh audit` runs the audits of the checkout and fails on warnings too. This runs those of what is served, and fails
only on what would have stopped a run.
"""

import click
from sqlmesh.core.context import Context
from sqlmesh.utils.date import now

from meshflow.terminal import grid, show


def audit(gateway: str) -> int:
    """Run all audits of prod, print those that find something, and return how many of those are blocking.

    Raises click.ClickException if prod has never been built.
    """
    context = Context(paths=".", gateway=gateway)
    built = context.state_reader.get_environment("prod")
    if built is None:
        raise click.ClickException(
            f"There is no prod on gateway {gateway} yet: `sqlmesh --gateway {gateway} plan prod` builds it"
        )
    served = context.state_reader.get_snapshots(built.snapshots).values()
    by_name = {snapshot.name: snapshot for snapshot in served}
    results = [
        result
        for snapshot in by_name.values()
        for result in context.snapshot_evaluator.audit(snapshot, snapshots=by_name, end=now(), execution_time=now())
        if not result.skipped
    ]
    findings = [result for result in results if result.count]
    table = grid("model", "audit", "rows found", "stops a run", right={"rows found"})
    for result in findings:
        name = result.model.name if result.model else ""
        table.add_row(name, result.audit.name, f"{result.count:,}", "yes" if result.blocking else "no, a warning")
    if findings:
        show(table)
    click.echo(f"{len(results)} audits of prod: {len(results) - len(findings)} find nothing")
    return sum(result.blocking for result in findings)
