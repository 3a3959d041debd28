"""Every audit of prod, over all of its history, and what to do about each that fails.

`sqlmesh audit` runs all audits of the checkout and fails on warnings too. This requires that prod is the checkout, and
fails only on what would have stopped a run.
"""

from collections.abc import Mapping
from typing import Any

import click
from sqlglot import exp
from sqlmesh.core.model.definition import AuditResult
from sqlmesh.utils.date import now

from meshflow.catalog.contents import to_sql
from meshflow.masking import find_unmasked
from meshflow.project import open_project
from meshflow.remedies import REMEDIES, RUNBOOK, remedies
from meshflow.terminal import echo_json, grid, show


def audit(gateway: str, *, as_json: bool = False) -> int:
    """Run all audits of prod, print those that found rows with their remedies, and return how many of them block a run.

    With `as_json` they are one JSON document. On Snowflake, columns that should be masked and aren't are printed and
    counted as well. Raises click.ClickException if prod has never been built, or isn't the checkout.
    """
    context = open_project(gateway)
    by_name = {snapshot.name: snapshot for snapshot in context.prod().values()}
    results = [
        result
        for snapshot in by_name.values()
        for result in context.snapshot_evaluator.audit(snapshot, snapshots=by_name, end=now(), execution_time=now())
        if not result.skipped
    ]
    findings = [result for result in results if result.count]
    failures = sum(result.blocking for result in findings)
    unmasked = find_unmasked(context, by_name.values()) if context.engine_adapter.dialect == "snowflake" else {}
    if as_json:
        listed = [_to_json(result) for result in findings]
        echo_json({"audits": len(results), "failed": failures, "findings": listed, "unmasked": list(unmasked)})
        return failures + len(unmasked)
    if findings:
        table = grid("model", "audit", "checks", "rows found", "severity", right={"rows found"})
        for result in findings:
            one = _to_json(result)
            table.add_row(one["model"], one["audit"], one["checks"], f"{one['rows']:,}", one["severity"])
        show(table)
        for name, remedy in remedies(result.audit.name for result in findings).items():
            click.echo(f"{name}: {remedy}")
        click.echo(f"More on each: {RUNBOOK}")
    click.echo(
        f"{len(results)} audits run on prod: {len(results) - len(findings)} passed, "
        f"{len(findings) - failures} warned, {failures} failed"
    )
    for column, snapshot in unmasked.items():
        # A plan replaces a view of prod only if its model has changed.
        click.echo(
            f"{column} isn't masked, because something other than SQLMesh has replaced its view. Run as prod's role: "  # noqa: S608 - printed
            f"CREATE OR REPLACE VIEW {snapshot.name} COPY GRANTS AS SELECT * FROM {snapshot.table_name()}; "
            f"then `sqlmesh --gateway {gateway} plan prod --restate-model {snapshot.model.name}`"
        )
    return failures + len(unmasked)


def _to_json(result: AuditResult) -> dict[str, Any]:
    return {
        "model": result.model.name if result.model else "",
        "audit": result.audit.name,
        "checks": checks(result.audit_args),
        "rows": result.count,
        "severity": "error" if result.blocking else "warning",
        "remedy": REMEDIES.get(result.audit.name, ""),
    }


def checks(arguments: Mapping[str, exp.Expr]) -> str:
    """What an audit checks: its arguments as SQL, such as the columns, or the criteria, and for which rows."""
    condition = [f"where {to_sql(value)}" for name, value in arguments.items() if name == "condition"]
    return " ".join([", ".join(to_sql(value) for name, value in arguments.items() if name != "condition"), *condition])
