"""Keys of several columns."""

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def merge_key(evaluator: MacroEvaluator, *parts: exp.Expr) -> exp.Tuple:
    """The `unique_key` of a model whose rows are told apart by more than one column.

    Called as `unique_key @merge_key(order_id, product_id)`. On Snowflake each column for itself, as MERGE compares
    them. On DuckDB all of them as one value, a row: of several values SQLMesh 0.236 makes a string there, for every
    row of the table, which takes a delete from ten million rows 0.44 s instead of 0.06.
    """
    on_duckdb = [exp.func("ROW", *parts)]
    return exp.Tuple(expressions=list(parts) if evaluator.gateway == "snowflake" else on_duckdb)
