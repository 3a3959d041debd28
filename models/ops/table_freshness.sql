MODEL (
  name ops.table_freshness,
  kind FULL,
  owner data_platform,
  cron @cadence,
  grain source_table,
  tags (
    ops
  ),
  description 'One row per loaded table, including empty ones. Answers: how fresh is each source table? Days are as of the run date, or of the variable as_of_date where it is set.',
  audits (
    unique_combination_of_columns(columns := source_table),
    not_null(columns := source_table)
  )
);

WITH loaded AS (
  SELECT
    'edtech.students' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS active_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_loaded_at) AS last_loaded_at
  FROM staging.stg_edtech__students
  UNION ALL
  SELECT
    'edtech.courses' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS active_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_loaded_at) AS last_loaded_at
  FROM staging.stg_edtech__courses
  UNION ALL
  SELECT
    'edtech.enrollments' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS active_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_loaded_at) AS last_loaded_at
  FROM staging.stg_edtech__enrollments
  UNION ALL
  SELECT
    'retail.sales' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS active_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_loaded_at) AS last_loaded_at
  FROM staging.stg_retail__sales
)
SELECT
  source_table::VARCHAR AS source_table, /* Loaded table */
  row_count::INT AS row_count, /* Rows loaded, including soft-deleted ones */
  COALESCE(active_row_count, 0)::INT AS active_row_count, /* Active rows: not soft-deleted */
  last_updated_at::TIMESTAMPNTZ AS last_updated_at, /* Newest write by the source, UTC; NULL while the table is empty */
  last_loaded_at::TIMESTAMPNTZ AS last_loaded_at, /* Start of the newest load that wrote a row, UTC; NULL while the table is empty */
  DATEDIFF(DAY, last_loaded_at::DATE, @as_of_date())::INT AS days_since_loaded /* Days since that load */
FROM loaded
