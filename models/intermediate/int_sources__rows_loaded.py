"""intermediate.int_sources__rows_loaded. It is Python, because its tables are those of the contract."""

from sqlglot import exp
from sqlmesh import model
from sqlmesh.core.macros import MacroEvaluator

from macros.sources import first_model, loaded_tables

TABLES = [
    (table, f"staging.stg_{name}", first_model(f"intermediate.int_{name}_validated") is not None)
    for table, name in loaded_tables()
]


@model(
    "intermediate.int_sources__rows_loaded",
    is_sql=True,
    kind="VIEW",
    owner="data_platform",
    cron="@daily",
    tags=["intermediate"],
    description="One row per loaded row of every table of the contract, from staging.",
    column_descriptions={
        "source_table": "Loaded table",
        "updated_at": "When the source last wrote the row, UTC; NULL if the source doesn't record it",
        "is_validated": "Whether the rows of this table are validated",
    },
)
def rows_loaded(evaluator: MacroEvaluator) -> str:
    return " UNION ALL ".join(
        f"SELECT {exp.Literal.string(table)}::VARCHAR AS source_table, updated_at::TIMESTAMPNTZ AS updated_at, "
        f"{is_validated}::BOOLEAN AS is_validated FROM {staged}"
        for table, staged, is_validated in TABLES
    )
