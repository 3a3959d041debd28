MODEL (
  name quarantine.edtech_enrollment,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (enrollment_id, recency_rank),
  tags (edtech, quarantine),
  description 'One row per rejected enrollment row. Answers: which rows are missing from the marts? Why, and since when? ops.ref_reject_reason describes each reason and its remedy.'
);

SELECT
  enrollment_id, /* Enrollment */
  recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  student_id, /* Student who enrolled */
  course_id, /* Course enrolled in */
  enrollment_date, /* Day of the enrollment */
  reject_reasons, /* Comma-separated reject reasons */
  is_deleted, /* Whether the row is soft-deleted */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the row, UTC */
FROM intermediate.int_edtech__enrollments_validated
WHERE
  NOT reject_reasons IS NULL
