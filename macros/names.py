"""Names of people."""

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def full_name(evaluator: MacroEvaluator, first_name: SQL, last_name: SQL) -> str:
    """Given and family name, separated by one space. If one is missing, the other alone; '' if both are missing."""
    return f"TRIM(TRIM(COALESCE({first_name}, ''), ' ') || ' ' || TRIM(COALESCE({last_name}, ''), ' '), ' ')"
