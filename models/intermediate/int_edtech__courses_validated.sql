MODEL (
  name intermediate.int_edtech__courses_validated,
  kind CUSTOM (
    materialization 'replace_by_key',
    materialization_properties (key = course_id)
  ),
  owner data_platform,
  cron @cadence,
  grain (course_id, recency_rank),
  tags (edtech, intermediate),
  description 'One row per loaded course row, with its validation result. Of several rows with one key the newest has recency_rank 1, and the others are rejected. The marts show accepted rows only, and quarantine.edtech_course shows the rejected ones. Refresh: incremental (affected keys). A full refresh would hide rows that have disappeared from RAW.',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := (course_id, recency_rank), condition := _loaded_at >= @start_dtntz),
    row_counts_reconcile(against := staging.stg_edtech__courses, key := course_id, since := @start_dtntz)
  )
);

WITH affected AS (
  SELECT
    course_id
  FROM staging.stg_edtech__courses
  WHERE
    _loaded_at >= @since()
), loaded AS (
  SELECT
    *
  FROM staging.stg_edtech__courses
  WHERE
    @is_affected(course_id)
  UNION ALL
  SELECT
    *
  FROM staging.stg_edtech__courses
  WHERE
    course_id IS NULL
), ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY course_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, start_date DESC, course_name DESC, end_date, credits, instructor_name, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY course_id) AS latest_loaded_at
  FROM loaded
), bounds AS (
  SELECT
    @bounds(numbers := credits, dates := (start_date, end_date))
  FROM intermediate.ref_bound
  WHERE
    source_table = 'edtech.courses'
)
SELECT
  ranked.course_id, /* Course */
  ranked.recency_rank::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  ranked.course_name, /* Title of the course */
  ranked.instructor_name, /* Name of the instructor */
  ranked.credits, /* Credits the course earns */
  ranked.start_date, /* First day of the course */
  ranked.end_date, /* Last day of the course */
  NOT ranked.deleted_at IS NULL AS is_deleted, /* Whether the course is soft-deleted */
  ranked.deleted_at, /* When the source soft-deleted the row, or a load found it missing there, UTC */
  @reject_reasons(
    missing_course_id := ranked.course_id IS NULL,
    duplicate_course_id := ranked.recency_rank > 1 AND NOT ranked.course_id IS NULL,
    missing_course_name := COALESCE(TRIM(ranked.course_name, ' '), '') = '',
    missing_course_dates := ranked.start_date IS NULL OR ranked.end_date IS NULL,
    course_dates_out_of_range := NOT ranked.start_date BETWEEN bounds.lowest_start_date AND bounds.highest_start_date
    OR NOT ranked.end_date BETWEEN bounds.lowest_end_date AND bounds.highest_end_date,
    end_before_start := ranked.end_date < ranked.start_date,
    credits_out_of_range := ranked.credits IS NULL
    OR NOT ranked.credits BETWEEN bounds.lowest_credits AND bounds.highest_credits
  )::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  ranked.updated_at, /* When the source last wrote the row, UTC */
  ranked.latest_loaded_at AS _loaded_at /* Start of the newest load that affected the key, UTC */
FROM ranked
CROSS JOIN bounds
