"""Masking of personal data."""

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def mask(evaluator: MacroEvaluator, policy: SQL, *columns: SQL) -> list[str]:
    """Statements that mask columns of the view just created, for ON_VIRTUAL_UPDATE. None except on Snowflake.

    A replaced view loses its policies. `policy` is defined in infra/snowflake/config/analytics/governance.
    """
    if evaluator.gateway != "snowflake":
        return []
    return [
        f"ALTER VIEW {evaluator.this_model} MODIFY COLUMN {column} SET MASKING POLICY ANALYTICS.GOVERNANCE.{policy}"
        for column in columns
    ]
