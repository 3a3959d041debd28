MODEL (
  name quarantine.edtech_student,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  grain (student_id, recency_rank),
  tags (edtech, quarantine),
  description 'One row per rejected student. Answers: which rows are missing from the marts, why, and since when? E-mail and birth date are looked up in the source, by student_id. What each reason means and what to do about it stands in ops.ref_reject_reason.',
  audits (
    not_null(columns := reject_reasons)
  )
);

SELECT
  student_id, /* Student */
  recency_rank, /* 1 for the newest row with this key, then 2, 3 … */
  first_name, /* Given name */
  last_name, /* Family name */
  gender, /* Gender as the student gave it */
  enrollment_date, /* Day of signing up with the platform */
  reject_reasons, /* Every reason that applies, separated by ', ' */
  is_deleted, /* Whether the source has deleted the row since */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the row, UTC */
FROM intermediate.int_edtech__students_validated
WHERE
  NOT reject_reasons IS NULL;

ON_VIRTUAL_UPDATE_BEGIN;
@mask(mask_text, first_name, last_name);
ON_VIRTUAL_UPDATE_END;
