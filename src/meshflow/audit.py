"""Every audit of prod, over all of its history, and what to do about each that fails.

`sqlmesh audit` runs the audits of the checkout and fails on warnings too. This runs those of the models in prod, and
fails only on what would have stopped a run.
"""

from collections.abc import Iterable, Mapping

import click
from sqlglot import exp
from sqlmesh.utils.date import now

from meshflow.catalog.contents import to_sql
from meshflow.project import open_project
from meshflow.terminal import grid, show

RUNBOOK = "docs/runbooks/failed-audit.md"
"""A section for each audit, by name."""

REMEDIES = {
    "accepted_values": "Correct the value in the source, or accept it in the audit and wherever the column is read.",
    "forall": "Correct the model's query, or the row of the seed.",
    "forall_non_blocking": "A warning, which stops nothing. The remedy depends on the criterion.",
    "max_deletion_rate": "Compare with the source. If the deletions are right, raise max_rate in a reviewed change.",
    "not_null": "Reject such rows upstream with a reject reason, or give the column a value there.",
    "relationships": "Reject such rows upstream, or find out why the parent table lost its row.",
    "row_counts_reconcile": "Restate the model. If it fails again, find out what deletes rows in RAW.",
    "totals_reconcile": "Correct the query, or restate the stored table that it reads.",
    "unique_combination_of_columns": "Find the join that repeats rows, or correct the grain in the MODEL header.",
}
"""What to do first, by audit. The runbook's section begins with the same sentences."""


def audit(gateway: str) -> int:
    """Run all audits of prod, print those that found rows with their remedies, and return how many of them block a run.

    Raises click.ClickException if prod has never been built.
    """
    context = open_project(gateway)
    built = context.state_reader.get_environment("prod")
    if built is None:
        raise click.ClickException(
            f"There is no prod on gateway {gateway} yet: `sqlmesh --gateway {gateway} plan prod` builds it"
        )
    snapshots = context.state_reader.get_snapshots(built.snapshots).values()
    by_name = {snapshot.name: snapshot for snapshot in snapshots}
    results = [
        result
        for snapshot in by_name.values()
        for result in context.snapshot_evaluator.audit(snapshot, snapshots=by_name, end=now(), execution_time=now())
        if not result.skipped
    ]
    findings = [result for result in results if result.count]
    failures = sum(result.blocking for result in findings)
    if findings:
        table = grid("model", "audit", "checks", "rows found", "severity", right={"rows found"})
        for result in findings:
            name = result.model.name if result.model else ""
            severity = "error" if result.blocking else "warning"
            table.add_row(name, result.audit.name, checks(result.audit_args), f"{result.count:,}", severity)
        show(table)
        for name, remedy in remedies(result.audit.name for result in findings).items():
            click.echo(f"{name}: {remedy}")
        click.echo(f"More on each: {RUNBOOK}")
    click.echo(
        f"{len(results)} audits run on prod: {len(results) - len(findings)} passed, "
        f"{len(findings) - failures} warned, {failures} failed"
    )
    return failures


def checks(arguments: Mapping[str, exp.Expr]) -> str:
    """What an audit checks: its first argument as SQL, such as the columns, or the criteria."""
    return next(map(to_sql, arguments.values()), "")


def remedies(names: Iterable[str]) -> dict[str, str]:
    """The remedy of each audit that has one, in the order of first appearance."""
    return {name: REMEDIES[name] for name in names if name in REMEDIES}
