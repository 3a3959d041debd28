MODEL (
  name ops.row_reconciliation,
  kind FULL,
  owner data_platform,
  cron @cadence,
  grain (source_table, updated_date),
  tags (
    ops
  ),
  description 'One row per landed table and day on which the application last wrote the rows. Answers: how many rows came, how many are served, how many were deleted or refused? missing_count is 0, unless a load landed while the run was under way.',
  audits (
    grain_is_unique(columns := (source_table, updated_date)),
    values_are_accepted(column := missing_count, accepted := 0, blocking := FALSE)
  )
);

WITH landed AS (
  SELECT
    'edtech.students' AS source_table,
    updated_at::DATE AS updated_date
  FROM staging.stg_edtech__students
  UNION ALL
  SELECT
    'edtech.courses' AS source_table,
    updated_at::DATE AS updated_date
  FROM staging.stg_edtech__courses
  UNION ALL
  SELECT
    'edtech.enrollments' AS source_table,
    updated_at::DATE AS updated_date
  FROM staging.stg_edtech__enrollments
  UNION ALL
  SELECT
    'retail.sales' AS source_table,
    updated_at::DATE AS updated_date
  FROM staging.stg_retail__sales
), checked AS (
  SELECT
    'edtech.students' AS source_table,
    updated_at::DATE AS updated_date,
    is_deleted,
    reject_reasons
  FROM intermediate.int_edtech__students_checked
  UNION ALL
  SELECT
    'edtech.courses' AS source_table,
    updated_at::DATE AS updated_date,
    is_deleted,
    reject_reasons
  FROM intermediate.int_edtech__courses_checked
  UNION ALL
  SELECT
    'edtech.enrollments' AS source_table,
    updated_at::DATE AS updated_date,
    is_deleted,
    reject_reasons
  FROM intermediate.int_edtech__enrollments_checked
  UNION ALL
  SELECT
    'retail.sales' AS source_table,
    updated_at::DATE AS updated_date,
    is_deleted,
    reject_reasons
  FROM intermediate.int_retail__sales_checked
), landed_counts AS (
  SELECT
    source_table,
    updated_date,
    COUNT(*) AS landed_count
  FROM landed
  GROUP BY
    source_table,
    updated_date
), checked_counts AS (
  SELECT
    source_table,
    updated_date,
    COUNT_IF(reject_reasons IS NULL AND NOT is_deleted) AS accepted_count,
    COUNT_IF(reject_reasons IS NULL AND is_deleted) AS deleted_count,
    COUNT_IF(NOT reject_reasons IS NULL) AS refused_count
  FROM checked
  GROUP BY
    source_table,
    updated_date
)
SELECT
  COALESCE(landed_counts.source_table, checked_counts.source_table)::VARCHAR AS source_table, /* Landed table */
  COALESCE(landed_counts.updated_date, checked_counts.updated_date)::DATE AS updated_date, /* Day the application last wrote the rows, UTC */
  COALESCE(landed_counts.landed_count, 0)::INT AS landed_count, /* Rows landed */
  COALESCE(checked_counts.accepted_count, 0)::INT AS accepted_count, /* Rows accepted and not deleted */
  COALESCE(checked_counts.deleted_count, 0)::INT AS deleted_count, /* Rows the application has deleted */
  COALESCE(checked_counts.refused_count, 0)::INT AS refused_count, /* Rows in quarantine */
  (
    COALESCE(landed_counts.landed_count, 0) - COALESCE(checked_counts.accepted_count, 0) - COALESCE(checked_counts.deleted_count, 0) - COALESCE(checked_counts.refused_count, 0)
  )::INT AS missing_count /* Rows landed and not accounted for */
FROM landed_counts
FULL JOIN checked_counts
  ON landed_counts.source_table = checked_counts.source_table
  AND landed_counts.updated_date IS NOT DISTINCT FROM checked_counts.updated_date
