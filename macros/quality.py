"""Why a row is rejected."""

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def reject_reasons(evaluator: MacroEvaluator, **conditions: SQL) -> str:
    """Every reason that applies, in the order given, as 'reason_a, reason_b'; NULL for a row without fault.

    Called as `@reject_reasons(reason := condition, ...)`. A condition that is NULL doesn't apply: write
    `x IS NULL` where a missing value is itself a fault. Each reason stands in seeds/ops/ref_reject_reason.csv
    with what to do about it.

    Joined by hand: CONCAT_WS is NULL on Snowflake as soon as one argument is. And only for rows with a fault: for each
    of ten million sound order lines, fourteen pieces of text took DuckDB 3 s of processors.
    """
    any_fault = " OR ".join(f"({condition})" for condition in conditions.values())
    parts = " || ".join(f"IFF({condition}, ', {reason}', '')" for reason, condition in conditions.items())
    return f"IFF({any_fault}, LTRIM({parts}, ', '), NULL)"
