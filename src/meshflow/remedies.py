"""What to do about an audit that found rows. Apart from meshflow.audit, so that dashboards import it in no time."""

from collections.abc import Iterable

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


def advice(audit: str) -> str:
    """The remedy, if the audit has one, and where more is."""
    return " ".join(filter(None, [REMEDIES.get(audit), f"({RUNBOOK})"]))


def remedies(names: Iterable[str]) -> dict[str, str]:
    """The remedy of each audit that has one, in the order of first appearance."""
    return {name: REMEDIES[name] for name in names if name in REMEDIES}
