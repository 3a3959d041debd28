"""The table that recorded runs write."""

from sqlglot import exp
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def create_run_log(evaluator: MacroEvaluator) -> list[exp.Expr]:
    """Statements that create run_log.events if it doesn't exist: a plan may create the views on it before any run.

    The columns are those in external_models/run_log.yaml. On Snowflake, where a role that builds an environment may not
    create it, one statement finds out whether it exists.
    """
    if evaluator.locals["runtime_stage"] not in {"creating", "evaluating"}:
        return []
    name = f"{evaluator.default_catalog}.run_log.events"
    table = normalize_identifiers(exp.to_table(name, dialect=evaluator.dialect), dialect=evaluator.dialect)
    columns = evaluator.columns_to_types(table)
    if evaluator.gateway == "snowflake" and evaluator.engine_adapter.table_exists(table):
        return []
    schema = exp.Schema(
        this=table,
        expressions=[exp.ColumnDef(this=exp.to_identifier(name), kind=type_) for name, type_ in columns.items()],
    )
    return [
        exp.Create(this=exp.Table(this=exp.to_identifier(table.db), catalog=None), kind="SCHEMA", exists=True),
        exp.Create(this=schema, kind="TABLE", exists=True),
    ]
