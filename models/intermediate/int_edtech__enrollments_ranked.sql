MODEL (
  name intermediate.int_edtech__enrollments_ranked,
  kind CUSTOM (
    materialization 'replace_by_key',
    materialization_properties (key = enrollment_id)
  ),
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain (enrollment_id, recency_rank),
  tags (edtech, intermediate),
  description 'One row per loaded enrollment row, with its rank among the rows of its key. Nothing of the student or the course is stored here, so a change of either needs no other row: intermediate.int_edtech__enrollments_validated joins them when it is read. Refresh: incremental (affected keys). A full refresh would hide rows that have disappeared from RAW.',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := (enrollment_id, recency_rank), condition := _loaded_at >= @start_dtntz),
    row_counts_reconcile(
      against := staging.stg_edtech__enrollments,
      key := enrollment_id,
      since := @start_dtntz
    )
  )
);

WITH affected AS (
  SELECT
    enrollment_id
  FROM staging.stg_edtech__enrollments
  WHERE
    _loaded_at >= @since()
), loaded AS (
  SELECT
    *
  FROM staging.stg_edtech__enrollments
  WHERE
    @is_affected(enrollment_id)
  UNION ALL
  SELECT
    *
  FROM staging.stg_edtech__enrollments
  WHERE
    enrollment_id IS NULL
)
SELECT
  enrollment_id, /* Enrollment */
  ROW_NUMBER() OVER (
    PARTITION BY enrollment_id
    ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, student_id, course_id, enrollment_date, deleted_at NULLS FIRST
  )::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  student_id, /* Student who enrolled */
  course_id, /* Course enrolled in */
  enrollment_date, /* Day of the enrollment */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the enrollment is soft-deleted */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at AS row_loaded_at, /* Start of the load that wrote the row, UTC */
  MAX(_loaded_at) OVER (PARTITION BY enrollment_id) AS _loaded_at /* Start of the newest load that wrote a row of the key, UTC */
FROM loaded
