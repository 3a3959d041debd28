MODEL (
  name quarantine.edtech_student,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (student_id, recency_rank),
  tags (edtech, quarantine),
  description 'One row per rejected student row. Answers: which rows are missing from the marts? Why, and since when? ops.ref_reject_reason describes each reason and its remedy. Look up e-mail and birth date in the source, by student_id.'
);

SELECT
  student_id, /* Student */
  recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  @mask(first_name) AS first_name, /* Given name */
  @mask(last_name) AS last_name, /* Family name */
  gender, /* Gender as stated by the student */
  enrollment_date, /* Sign-up date */
  reject_reasons, /* Comma-separated reject reasons */
  is_deleted, /* Whether the row is soft-deleted */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the row, UTC */
FROM intermediate.int_edtech__students_validated
WHERE
  NOT reject_reasons IS NULL
