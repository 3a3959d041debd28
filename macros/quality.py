"""Row validation."""

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def reject_reasons(evaluator: MacroEvaluator, **conditions: SQL) -> str:
    """The reasons for rejecting a row, comma-separated in the order given; NULL if the row is accepted.

    Called as `@reject_reasons(reason := condition, ...)`. A reason applies if its condition is true, not if it is
    NULL: write `x IS NULL` where a missing value is itself a fault. seeds/ops/ref_reject_reason.csv describes each
    reason and its remedy.

    The reasons are concatenated with ||, because on Snowflake CONCAT_WS is NULL if any argument is. Only rows with a
    fault are concatenated: for ten million valid order lines, fourteen concatenations took DuckDB 3 s of CPU time.
    """
    has_fault = " OR ".join(f"({condition})" for condition in conditions.values())
    parts = " || ".join(f"IFF({condition}, ', {reason}', '')" for reason, condition in conditions.items())
    return f"IFF({has_fault}, LTRIM({parts}, ', '), NULL)"
