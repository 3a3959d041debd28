MODEL (
  name intermediate.int_edtech__students_checked,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(student_id, -1), copy_number)
  ),
  owner data_platform,
  cron @cadence,
  grain (student_id, copy_number),
  tags (edtech, intermediate),
  description 'One row per student as landed, with the verdict on it. Rows with reject_reasons are read by quarantine.edtech_student only; of several rows with one key the newest is copy 1, the others are refused. Merged by key and not rebuilt, so that rows that vanish from RAW are noticed.',
  signals (
    landed(source := 'edtech', gateway := @gateway)
  ),
  audits (
    grain_is_unique(columns := (student_id, copy_number), condition := _landed_at >= @start_dtntz),
    rows_are_conserved(landed := staging.stg_edtech__students, key := student_id, since := @start_dtntz),
    live_rows_hold(max_drop_rate := 0.2)
  )
);

WITH numbered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY student_id
      ORDER BY updated_at DESC NULLS LAST, _landed_at DESC, enrollment_date DESC, email DESC, date_of_birth, last_name, first_name, gender, deleted_at NULLS FIRST
    ) AS copy_number,
    MAX(_landed_at) OVER (PARTITION BY student_id) AS key_landed_at
  FROM staging.stg_edtech__students
)
SELECT
  student_id, /* Student */
  copy_number::INT AS copy_number, /* 1 for the newest row with this key, then 2, 3 … */
  first_name, /* Given name */
  last_name, /* Family name */
  email, /* E-mail address; different people share one */
  gender, /* Gender as the student gave it */
  date_of_birth, /* Date of birth */
  enrollment_date, /* Day of signing up with the platform */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the application deleted the student */
  @reject_reasons(
    missing_student_id := student_id IS NULL,
    duplicate_student_id := copy_number > 1 AND NOT student_id IS NULL,
    missing_name := @full_name(first_name, last_name) = '',
    missing_enrollment_date := enrollment_date IS NULL,
    enrolled_after_landing := enrollment_date > DATEADD(DAY, 1, _landed_at::DATE)::DATE,
    impossible_date_of_birth := date_of_birth < '1900-01-01'::DATE OR date_of_birth >= enrollment_date
  )::VARCHAR AS reject_reasons, /* Every reason for refusing the row, empty if accepted */
  updated_at, /* When the application last wrote the row, UTC */
  key_landed_at AS _landed_at /* Start of the newest load that touched the key, UTC */
FROM numbered
WHERE
  key_landed_at >= @start_dtntz
