"""What identifies people."""

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def mask(evaluator: MacroEvaluator, policy: SQL, *columns: SQL) -> list[str]:
    """Mask columns of the view just made: an ON_VIRTUAL_UPDATE statement, for Snowflake only.

    A view that is replaced loses its policies. `policy` stands in infra/snowflake/config/analytics/governance.
    """
    if evaluator.gateway != "snowflake":
        return []
    return [
        f"ALTER VIEW {evaluator.this_model} MODIFY COLUMN {column} SET MASKING POLICY ANALYTICS.GOVERNANCE.{policy}"
        for column in columns
    ]
