MODEL (
  name quarantine.edtech_enrollment,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  grain (enrollment_id, recency_rank),
  tags (edtech, quarantine),
  description 'One row per rejected enrollment. Answers: which rows are missing from the marts, why, and since when? What each reason means and what to do about it stands in ops.ref_reject_reason.',
  audits (
    not_null(columns := reject_reasons)
  )
);

SELECT
  enrollment_id, /* Enrollment */
  recency_rank, /* 1 for the newest row with this key, then 2, 3 … */
  student_id, /* Student who enrolled */
  course_id, /* Course enrolled in */
  enrollment_date, /* Day of the enrollment */
  reject_reasons, /* Every reason that applies, separated by ', ' */
  is_deleted, /* Whether the source has deleted the row since */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the row, UTC */
FROM intermediate.int_edtech__enrollments_validated
WHERE
  NOT reject_reasons IS NULL
