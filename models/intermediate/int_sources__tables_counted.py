"""intermediate.int_sources__tables_counted. It is Python, because its tables are those of the contract."""

from sqlglot import exp
from sqlmesh import model
from sqlmesh.core.macros import MacroEvaluator

from macros.sources import first_model, loaded_tables

TABLES = [
    (
        table,
        # One that is stored, because readers of a copy of the warehouse don't have RAW.
        first_model(f"intermediate.int_{name}_ranked", f"intermediate.int_{name}_validated") or f"staging.stg_{name}",
    )
    for table, name in loaded_tables()
]


@model(
    "intermediate.int_sources__tables_counted",
    is_sql=True,
    kind="VIEW",
    owner="data_platform",
    cron="@daily",
    grains=["source_table"],
    tags=["intermediate"],
    description="One row per table of the contract, including empty ones. Answers: how many rows are loaded?",
    audits=[("unique_combination_of_columns", {"columns": exp.column("source_table")})],
    column_descriptions={
        "source_table": "Loaded table",
        "row_count": "Rows loaded, including soft-deleted ones",
        "active_row_count": "Active rows: not soft-deleted",
        "last_updated_at": "Newest write by the source, UTC; NULL if it is empty, or the source doesn't record it",
        "last_loaded_at": "Start of the newest load that wrote a row, UTC; NULL while the table is empty",
    },
)
def tables_counted(evaluator: MacroEvaluator) -> str:
    return " UNION ALL ".join(
        f"SELECT {exp.Literal.string(table)}::VARCHAR AS source_table, COUNT(*)::INT AS row_count, "
        # COUNT_IF is NULL on DuckDB for an empty table.
        f"COALESCE(COUNT_IF({'deleted_at IS NULL' if stored.startswith('staging') else 'NOT is_deleted'}), 0)::INT "
        "AS active_row_count, MAX(updated_at)::TIMESTAMPNTZ AS last_updated_at, "
        f"MAX(_loaded_at)::TIMESTAMPNTZ AS last_loaded_at FROM {stored}"
        for table, stored in TABLES
    )
