MODEL (
  name intermediate.int_edtech__students_validated,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(student_id, -1), recency_rank)
  ),
  owner data_platform,
  cron @cadence,
  grain (student_id, recency_rank),
  tags (edtech, intermediate),
  description 'One row per loaded student row, with its validation result. Of several rows with one key the newest has recency_rank 1, and the others are rejected. The marts show accepted rows only, and quarantine.edtech_student shows the rejected ones. Refresh: incremental (affected keys). A full refresh would hide rows that have disappeared from RAW.',
  signals (
    source_loaded(source := 'edtech', gateway := @gateway)
  ),
  audits (
    unique_combination_of_columns(columns := (student_id, recency_rank), condition := _loaded_at >= @start_dtntz),
    row_counts_reconcile(against := staging.stg_edtech__students, key := student_id, since := @start_dtntz),
    max_deletion_rate(max_rate := 0.2)
  )
);

WITH ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY student_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, enrollment_date DESC, email DESC, date_of_birth, last_name, first_name, gender, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY student_id) AS latest_loaded_at
  FROM staging.stg_edtech__students
)
SELECT
  student_id, /* Student */
  recency_rank::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  first_name, /* Given name */
  last_name, /* Family name */
  email, /* E-mail address; several people may share one */
  gender, /* Gender as stated by the student */
  date_of_birth, /* Date of birth */
  enrollment_date, /* Sign-up date */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the student is soft-deleted */
  @reject_reasons(
    missing_student_id := student_id IS NULL,
    duplicate_student_id := recency_rank > 1 AND NOT student_id IS NULL,
    missing_name := @full_name(first_name, last_name) = '',
    missing_enrollment_date := enrollment_date IS NULL,
    enrolled_after_load := enrollment_date > DATEADD(DAY, 1, _loaded_at::DATE)::DATE,
    impossible_date_of_birth := date_of_birth < '1900-01-01'::DATE OR date_of_birth >= enrollment_date
  )::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  updated_at, /* When the source last wrote the row, UTC */
  latest_loaded_at AS _loaded_at /* Start of the newest load that affected the key, UTC */
FROM ranked
WHERE
  latest_loaded_at >= @start_dtntz
