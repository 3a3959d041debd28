MODEL (
  name edtech.fct_enrollment,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain enrollment_id,
  references (student_id, course_id),
  tags (edtech, mart),
  description 'One row per enrollment of a known student in a known course. Answers: which student takes which course, and since when? Suspicious enrollments count and are flagged. Rejected enrollments are in quarantine.edtech_enrollment. A student may enroll in a course twice.',
  audits (
    unique_combination_of_columns(columns := enrollment_id),
    forall_non_blocking(criteria := NOT is_before_sign_up),
    forall_non_blocking(criteria := NOT is_after_course_end)
  )
);

SELECT
  enrollment_id::BIGINT AS enrollment_id, /* Enrollment */
  student_id::BIGINT AS student_id, /* Student who enrolled */
  course_id::BIGINT AS course_id, /* Course enrolled in */
  enrollment_date::DATE AS enrollment_date, /* Day of the enrollment */
  is_before_sign_up::BOOLEAN AS is_before_sign_up, /* Whether the student enrolled before the sign-up date */
  is_after_course_end::BOOLEAN AS is_after_course_end, /* Whether the student enrolled after the last day of the course */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the enrollment, UTC */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the newest load that affected the enrollment, its student or its course, UTC */
FROM intermediate.int_edtech__enrollments_validated
WHERE
  reject_reasons IS NULL AND NOT is_deleted
