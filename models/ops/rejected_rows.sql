MODEL (
  name ops.rejected_rows,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (source_table, updated_date, reject_reason),
  references (source_table, reject_reason),
  tags (
    ops
  ),
  description 'One row per loaded table, day of updated_at and reject reason. Answers: what is wrong with the data? Is it getting better? What has to be done? A row rejected for two reasons counts under both. Rows that the loader rejected, because a value does not fit the contract, are as of the first run of the day and have no updated_at: it may be the value.',
  audits (
    unique_combination_of_columns(columns := (source_table, updated_date, reject_reason)),
    not_null(columns := (reject_reason, remedy))
  )
);

WITH rejected AS (
  SELECT
    source_table,
    updated_at::DATE AS updated_date,
    reject_reasons,
    COUNT(*) AS row_count
  FROM intermediate.int_sources__rows_validated
  WHERE
    NOT reject_reasons IS NULL
  GROUP BY
    source_table,
    updated_at::DATE,
    reject_reasons
), counted AS (
  SELECT
    rejected.source_table,
    rejected.updated_date,
    reasons.reject_reason,
    reasons.remedy,
    rejected.row_count
  FROM rejected
  LEFT JOIN ops.ref_reject_reason AS reasons
    ON rejected.source_table = reasons.source_table
    AND (
      ', ' || rejected.reject_reasons || ','
    ) LIKE (
      '%, ' || reasons.reject_reason || ',%'
    )
  UNION ALL
  SELECT
    source_table,
    NULL AS updated_date,
    reject_reasons AS reject_reason,
    'Correct the values in the source, or the types of the columns in external_models/.' AS remedy,
    1 AS row_count
  FROM staging.stg_loader__rejected_rows
)
SELECT
  source_table::VARCHAR AS source_table, /* Loaded table */
  updated_date::DATE AS updated_date, /* Day the source last wrote the rows, UTC; NULL if it is not known */
  reject_reason::VARCHAR AS reject_reason, /* Why the rows were rejected; of the loader all reasons, as unloadable_column */
  remedy::VARCHAR AS remedy, /* What to do, and where */
  SUM(row_count)::INT AS rejected_count /* Rows rejected for this reason */
FROM counted
GROUP BY
  source_table,
  updated_date,
  reject_reason,
  remedy
