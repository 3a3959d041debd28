MODEL (
  name ops.refused_rows,
  kind FULL,
  owner data_platform,
  cron @cadence,
  grain (source_table, updated_date, reject_reason),
  references (source_table, reject_reason),
  tags (
    ops
  ),
  description 'One row per landed table, day on which the application last wrote the rows, and reason for refusing them. Answers: what is wrong with the data, is it getting better, what is to be done? A row refused for two reasons counts under both.',
  audits (
    grain_is_unique(columns := (source_table, updated_date, reject_reason)),
    never_null(columns := (reject_reason, remedy))
  )
);

WITH refused AS (
  SELECT
    'edtech.students' AS source_table,
    updated_at::DATE AS updated_date,
    reject_reasons,
    COUNT(*) AS row_count
  FROM quarantine.edtech_student
  GROUP BY
    updated_at::DATE,
    reject_reasons
  UNION ALL
  SELECT
    'edtech.courses' AS source_table,
    updated_at::DATE AS updated_date,
    reject_reasons,
    COUNT(*) AS row_count
  FROM quarantine.edtech_course
  GROUP BY
    updated_at::DATE,
    reject_reasons
  UNION ALL
  SELECT
    'edtech.enrollments' AS source_table,
    updated_at::DATE AS updated_date,
    reject_reasons,
    COUNT(*) AS row_count
  FROM quarantine.edtech_enrollment
  GROUP BY
    updated_at::DATE,
    reject_reasons
  UNION ALL
  SELECT
    'retail.sales' AS source_table,
    updated_at::DATE AS updated_date,
    reject_reasons,
    COUNT(*) AS row_count
  FROM quarantine.retail_sales
  GROUP BY
    updated_at::DATE,
    reject_reasons
)
SELECT
  refused.source_table::VARCHAR AS source_table, /* Landed table */
  refused.updated_date::DATE AS updated_date, /* Day the application last wrote the rows, UTC */
  reasons.reject_reason::VARCHAR AS reject_reason, /* Why the rows were refused */
  reasons.remedy::VARCHAR AS remedy, /* What to do about it, and where */
  SUM(refused.row_count)::INT AS refused_count /* Rows refused for this reason */
FROM refused
LEFT JOIN ops.ref_reject_reason AS reasons
  ON refused.source_table = reasons.source_table
  AND (
    ', ' || refused.reject_reasons || ','
  ) LIKE (
    '%, ' || reasons.reject_reason || ',%'
  )
GROUP BY
  refused.source_table,
  refused.updated_date,
  reasons.reject_reason,
  reasons.remedy
