"""Money."""

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def money(evaluator: MacroEvaluator, amount: SQL) -> str:
    """`amount`, a DECIMAL, rounded to cents: half a cent is rounded away from zero, as on an invoice.

    Round each line once and add rounded lines: then every total equals the sum of the lines shown.
    Only for DECIMAL: a DOUBLE cannot represent half a cent exactly.
    """
    return f"ROUND({amount}, 2)::DECIMAL(18, 2)"
