"""intermediate.int_sources__rows_validated. It is Python, because its tables are those of the contract."""

from sqlglot import exp
from sqlmesh import model
from sqlmesh.core.macros import MacroEvaluator

from macros.sources import first_model, loaded_tables

TABLES = [
    (table, validated)
    for table, name in loaded_tables()
    if (validated := first_model(f"intermediate.int_{name}_validated"))
]


@model(
    "intermediate.int_sources__rows_validated",
    is_sql=True,
    kind="VIEW",
    owner="data_platform",
    cron="@daily",
    tags=["intermediate"],
    description="One row per validated row of every table of the contract.",
    column_descriptions={
        "source_table": "Loaded table",
        "updated_at": "When the source last wrote the row, UTC; NULL if the source doesn't record it",
        "is_deleted": "Whether the row is soft-deleted",
        "reject_reasons": "Comma-separated reject reasons, NULL if the row is accepted",
    },
)
def rows_validated(evaluator: MacroEvaluator) -> str:
    return " UNION ALL ".join(
        f"SELECT {exp.Literal.string(table)}::VARCHAR AS source_table, updated_at::TIMESTAMPNTZ AS updated_at, "
        f"is_deleted::BOOLEAN AS is_deleted, reject_reasons::VARCHAR AS reject_reasons FROM {validated}"
        for table, validated in TABLES
    )
