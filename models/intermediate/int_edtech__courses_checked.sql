MODEL (
  name intermediate.int_edtech__courses_checked,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(course_id, -1), copy_number)
  ),
  owner data_platform,
  cron @cadence,
  grain (course_id, copy_number),
  tags (edtech, intermediate),
  description 'One row per course as landed, with the verdict on it. Rows with reject_reasons are read by quarantine.edtech_course only; of several rows with one key the newest is copy 1, the others are refused. Merged by key and not rebuilt, so that rows that vanish from RAW are noticed.',
  signals (
    landed(source := 'edtech', gateway := @gateway)
  ),
  audits (
    grain_is_unique(columns := (course_id, copy_number), condition := _landed_at >= @start_dtntz),
    rows_are_conserved(landed := staging.stg_edtech__courses, key := course_id, since := @start_dtntz),
    live_rows_hold(max_drop_rate := 0.2)
  )
);

WITH numbered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY course_id
      ORDER BY updated_at DESC NULLS LAST, _landed_at DESC, start_date DESC, course_name DESC, end_date, credits, instructor_name, deleted_at NULLS FIRST
    ) AS copy_number,
    MAX(_landed_at) OVER (PARTITION BY course_id) AS key_landed_at
  FROM staging.stg_edtech__courses
)
SELECT
  course_id, /* Course */
  copy_number::INT AS copy_number, /* 1 for the newest row with this key, then 2, 3 … */
  course_name, /* Title of the course */
  instructor_name, /* Who teaches the course */
  credits, /* Credits the course earns */
  start_date, /* First day of the course */
  end_date, /* Last day of the course */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the application deleted the course */
  @reject_reasons(
    missing_course_id := course_id IS NULL,
    duplicate_course_id := copy_number > 1 AND NOT course_id IS NULL,
    missing_course_name := COALESCE(TRIM(course_name, ' '), '') = '',
    missing_course_dates := start_date IS NULL OR end_date IS NULL,
    end_before_start := end_date < start_date,
    credits_out_of_range := credits IS NULL OR NOT credits BETWEEN 1 AND 60
  )::VARCHAR AS reject_reasons, /* Every reason for refusing the row, empty if accepted */
  updated_at, /* When the application last wrote the row, UTC */
  key_landed_at AS _landed_at /* Start of the newest load that touched the key, UTC */
FROM numbered
WHERE
  key_landed_at >= @start_dtntz
