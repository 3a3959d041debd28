MODEL (
  name ops.row_reconciliation,
  kind FULL,
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron '@daily',
  grain (source_table, updated_date),
  tags (
    ops
  ),
  description 'One row per loaded table and day of updated_at. Answers: how many rows were loaded? How many are accepted, soft-deleted or rejected? A table that is not validated has loaded rows only. missing_count is 0, unless a load finished during the run. It is a table, computed once a day: it reads every row, and RAW, which readers of a copy of the warehouse do not have.',
  audits (
    unique_combination_of_columns(columns := (source_table, updated_date)),
    forall_non_blocking(criteria := missing_count = 0)
  )
);

WITH loaded_counts AS (
  SELECT
    source_table,
    updated_at::DATE AS updated_date,
    is_validated,
    COUNT(*) AS loaded_count
  FROM intermediate.int_sources__rows_loaded
  GROUP BY
    source_table,
    updated_at::DATE,
    is_validated
), validated_counts AS (
  SELECT
    source_table,
    updated_at::DATE AS updated_date,
    COUNT_IF(reject_reasons IS NULL AND NOT is_deleted) AS accepted_count,
    COUNT_IF(reject_reasons IS NULL AND is_deleted) AS deleted_count,
    COUNT_IF(NOT reject_reasons IS NULL) AS rejected_count
  FROM intermediate.int_sources__rows_validated
  GROUP BY
    source_table,
    updated_at::DATE
)
SELECT
  COALESCE(loaded_counts.source_table, validated_counts.source_table)::VARCHAR AS source_table, /* Loaded table */
  COALESCE(loaded_counts.updated_date, validated_counts.updated_date)::DATE AS updated_date, /* Day the source last wrote the rows, UTC */
  COALESCE(loaded_counts.loaded_count, 0)::INT AS loaded_count, /* Rows loaded */
  COALESCE(validated_counts.accepted_count, 0)::INT AS accepted_count, /* Rows accepted and not soft-deleted */
  COALESCE(validated_counts.deleted_count, 0)::INT AS deleted_count, /* Rows accepted and soft-deleted */
  COALESCE(validated_counts.rejected_count, 0)::INT AS rejected_count, /* Rows in quarantine */
  IFF(
    COALESCE(loaded_counts.is_validated, TRUE),
    COALESCE(loaded_counts.loaded_count, 0) - COALESCE(validated_counts.accepted_count, 0) - COALESCE(validated_counts.deleted_count, 0) - COALESCE(validated_counts.rejected_count, 0),
    0
  )::INT AS missing_count /* Rows loaded and not accounted for; 0 in a table that is not validated */
FROM loaded_counts
FULL JOIN validated_counts
  ON loaded_counts.source_table = validated_counts.source_table
  AND loaded_counts.updated_date IS NOT DISTINCT FROM validated_counts.updated_date
