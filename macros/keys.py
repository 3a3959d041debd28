"""Keys of several columns."""

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def merge_key(evaluator: MacroEvaluator, *parts: exp.Expr) -> exp.Tuple:
    """The `unique_key` of a model whose key has several columns.

    Called as `unique_key @merge_key(order_id, product_id)`. On Snowflake MERGE compares each column. On DuckDB the
    columns form one value, a ROW: SQLMesh 0.236 would concatenate several columns into a string for every row of the
    table. A delete from ten million rows takes 0.06 s with a ROW and 0.44 s with strings.
    """
    row = [exp.func("ROW", *parts)]
    return exp.Tuple(expressions=list(parts) if evaluator.gateway == "snowflake" else row)
