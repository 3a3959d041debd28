"""Money."""

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def money(evaluator: MacroEvaluator, amount: SQL) -> str:
    """`amount`, a DECIMAL, in whole cents: half a cent is rounded away from zero, as an invoice does.

    Round each line once and add rounded lines: then every total equals the sum of what people see.
    Only for DECIMAL: a DOUBLE is not exactly half a cent to begin with.
    """
    return f"ROUND({amount}, 2)::DECIMAL(18, 2)"
