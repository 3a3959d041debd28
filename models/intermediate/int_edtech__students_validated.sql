MODEL (
  name intermediate.int_edtech__students_validated,
  kind CUSTOM (
    materialization 'replace_by_key',
    materialization_properties (key = student_id)
  ),
  owner data_platform,
  cron @cadence,
  grain (student_id, recency_rank),
  tags (edtech, intermediate),
  description 'One row per loaded student row, with its validation result. Of several rows with one key the newest has recency_rank 1, and the others are rejected. The marts show accepted rows only, and quarantine.edtech_student shows the rejected ones. Refresh: incremental (affected keys). A full refresh would hide rows that have disappeared from RAW.',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := (student_id, recency_rank), condition := _loaded_at >= @start_dtntz),
    row_counts_reconcile(against := staging.stg_edtech__students, key := student_id, since := @start_dtntz)
  )
);

WITH affected AS (
  SELECT
    student_id
  FROM staging.stg_edtech__students
  WHERE
    _loaded_at >= @since()
), loaded AS (
  SELECT
    *
  FROM staging.stg_edtech__students
  WHERE
    @is_affected(student_id)
  UNION ALL
  SELECT
    *
  FROM staging.stg_edtech__students
  WHERE
    student_id IS NULL
), ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY student_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, enrollment_date DESC, email DESC, date_of_birth, last_name, first_name, gender, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY student_id) AS latest_loaded_at
  FROM loaded
), bounds AS (
  SELECT
    @bounds(dates := (enrollment_date, date_of_birth))
  FROM intermediate.ref_bound
  WHERE
    source_table = 'edtech.students'
)
SELECT
  ranked.student_id, /* Student */
  ranked.recency_rank::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  ranked.first_name, /* Given name */
  ranked.last_name, /* Family name */
  ranked.email, /* E-mail address; several people may share one */
  ranked.gender, /* Gender as stated by the student */
  ranked.date_of_birth, /* Date of birth */
  ranked.enrollment_date, /* Sign-up date */
  NOT ranked.deleted_at IS NULL AS is_deleted, /* Whether the student is soft-deleted */
  ranked.deleted_at, /* When the source soft-deleted the row, or a load found it missing there, UTC */
  @reject_reasons(
    missing_student_id := ranked.student_id IS NULL,
    duplicate_student_id := ranked.recency_rank > 1 AND NOT ranked.student_id IS NULL,
    missing_name := @full_name(ranked.first_name, ranked.last_name) = '',
    missing_enrollment_date := ranked.enrollment_date IS NULL,
    enrollment_date_out_of_range := NOT ranked.enrollment_date BETWEEN bounds.lowest_enrollment_date AND bounds.highest_enrollment_date,
    enrolled_after_load := ranked.enrollment_date > DATEADD(DAY, 1, ranked._loaded_at::DATE)::DATE,
    impossible_date_of_birth := NOT ranked.date_of_birth BETWEEN bounds.lowest_date_of_birth AND bounds.highest_date_of_birth
    OR ranked.date_of_birth >= ranked.enrollment_date
  )::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  ranked.updated_at, /* When the source last wrote the row, UTC */
  ranked.latest_loaded_at AS _loaded_at /* Start of the newest load that affected the key, UTC */
FROM ranked
CROSS JOIN bounds
