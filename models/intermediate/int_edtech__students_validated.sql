MODEL (
  name intermediate.int_edtech__students_validated,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(student_id, -1), recency_rank)
  ),
  owner data_platform,
  cron @cadence,
  grain (student_id, recency_rank),
  tags (edtech, intermediate),
  description 'One row per student as loaded, with the validation on it. Rows with reject_reasons are read by quarantine.edtech_student only; of several rows with one key the newest is copy 1, the others are rejected. Merged by key and not rebuilt, so that rows that vanish from RAW are noticed.',
  signals (
    source_loaded(source := 'edtech', gateway := @gateway)
  ),
  audits (
    unique_combination_of_columns(columns := (student_id, recency_rank), condition := _loaded_at >= @start_dtntz),
    row_counts_reconcile(loaded := staging.stg_edtech__students, key := student_id, since := @start_dtntz),
    max_deletion_rate(max_rate := 0.2)
  )
);

WITH numbered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY student_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, enrollment_date DESC, email DESC, date_of_birth, last_name, first_name, gender, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY student_id) AS key_loaded_at
  FROM staging.stg_edtech__students
)
SELECT
  student_id, /* Student */
  recency_rank::INT AS recency_rank, /* 1 for the newest row with this key, then 2, 3 … */
  first_name, /* Given name */
  last_name, /* Family name */
  email, /* E-mail address; different people share one */
  gender, /* Gender as the student gave it */
  date_of_birth, /* Date of birth */
  enrollment_date, /* Day of signing up with the platform */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the source deleted the student */
  @reject_reasons(
    missing_student_id := student_id IS NULL,
    duplicate_student_id := recency_rank > 1 AND NOT student_id IS NULL,
    missing_name := @full_name(first_name, last_name) = '',
    missing_enrollment_date := enrollment_date IS NULL,
    enrolled_after_load := enrollment_date > DATEADD(DAY, 1, _loaded_at::DATE)::DATE,
    impossible_date_of_birth := date_of_birth < '1900-01-01'::DATE OR date_of_birth >= enrollment_date
  )::VARCHAR AS reject_reasons, /* Every reason for rejecting the row, empty if accepted */
  updated_at, /* When the source last wrote the row, UTC */
  key_loaded_at AS _loaded_at /* Start of the newest load that affected the key, UTC */
FROM numbered
WHERE
  key_loaded_at >= @start_dtntz
