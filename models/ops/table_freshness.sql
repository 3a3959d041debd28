MODEL (
  name ops.table_freshness,
  kind FULL,
  owner data_platform,
  cron @cadence,
  grain source_table,
  tags (
    ops
  ),
  description 'One row per landed table, empty ones too. Answers: how old is what has landed? Days are as of the run (or of the variable as_of_date).',
  audits (grain_is_unique(columns := source_table), never_null(columns := source_table))
);

WITH landed AS (
  SELECT
    'edtech.students' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS live_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_landed_at) AS last_landed_at
  FROM staging.stg_edtech__students
  UNION ALL
  SELECT
    'edtech.courses' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS live_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_landed_at) AS last_landed_at
  FROM staging.stg_edtech__courses
  UNION ALL
  SELECT
    'edtech.enrollments' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS live_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_landed_at) AS last_landed_at
  FROM staging.stg_edtech__enrollments
  UNION ALL
  SELECT
    'retail.sales' AS source_table,
    COUNT(*) AS row_count,
    COUNT_IF(deleted_at IS NULL) AS live_row_count,
    MAX(updated_at) AS last_updated_at,
    MAX(_landed_at) AS last_landed_at
  FROM staging.stg_retail__sales
)
SELECT
  source_table::VARCHAR AS source_table, /* Landed table */
  row_count::INT AS row_count, /* Rows landed, deleted ones included */
  COALESCE(live_row_count, 0)::INT AS live_row_count, /* Rows the application has not deleted */
  last_updated_at::TIMESTAMPNTZ AS last_updated_at, /* Newest write by the application, UTC; empty while nothing has landed */
  last_landed_at::TIMESTAMPNTZ AS last_landed_at, /* Start of the newest load that brought a row, UTC; empty while nothing has landed */
  DATEDIFF(DAY, last_landed_at::DATE, @as_of_date())::INT AS days_since_landed /* Days since that load */
FROM landed
