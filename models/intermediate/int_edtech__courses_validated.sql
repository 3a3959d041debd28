MODEL (
  name intermediate.int_edtech__courses_validated,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(course_id, -1), recency_rank)
  ),
  owner data_platform,
  cron @cadence,
  grain (course_id, recency_rank),
  tags (edtech, intermediate),
  description 'One row per loaded course row, with its validation result. Of several rows with one key the newest has recency_rank 1, and the others are rejected. The marts show accepted rows only, and quarantine.edtech_course shows the rejected ones. Refresh: incremental (affected keys). A full refresh would hide rows that have disappeared from RAW.',
  signals (
    source_loaded(source := 'edtech', gateway := @gateway)
  ),
  audits (
    unique_combination_of_columns(columns := (course_id, recency_rank), condition := _loaded_at >= @start_dtntz),
    row_counts_reconcile(against := staging.stg_edtech__courses, key := course_id, since := @start_dtntz),
    max_deletion_rate(max_rate := 0.2)
  )
);

WITH ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY course_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, start_date DESC, course_name DESC, end_date, credits, instructor_name, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY course_id) AS latest_loaded_at
  FROM staging.stg_edtech__courses
)
SELECT
  course_id, /* Course */
  recency_rank::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  course_name, /* Title of the course */
  instructor_name, /* Name of the instructor */
  credits, /* Credits the course earns */
  start_date, /* First day of the course */
  end_date, /* Last day of the course */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the course is soft-deleted */
  @reject_reasons(
    missing_course_id := course_id IS NULL,
    duplicate_course_id := recency_rank > 1 AND NOT course_id IS NULL,
    missing_course_name := COALESCE(TRIM(course_name, ' '), '') = '',
    missing_course_dates := start_date IS NULL OR end_date IS NULL,
    end_before_start := end_date < start_date,
    credits_out_of_range := credits IS NULL OR NOT credits BETWEEN 1 AND 60
  )::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  updated_at, /* When the source last wrote the row, UTC */
  latest_loaded_at AS _loaded_at /* Start of the newest load that affected the key, UTC */
FROM ranked
WHERE
  latest_loaded_at >= @start_dtntz
