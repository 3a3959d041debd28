MODEL (
  name intermediate.int_edtech__enrollments_flagged,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key enrollment_id
  ),
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain enrollment_id,
  references (student_id, course_id),
  tags (edtech, intermediate),
  description 'One row per enrollment key ever loaded, with its warnings. Suspicious enrollments count. is_valid is false for rejected and soft-deleted rows: they stay, because a merge does not remove rows. edtech.fct_enrollment shows the valid rows. It is a separate table, so that it is written only after the audits of int_edtech__enrollments_validated have passed. Refresh: incremental (affected keys).',
  audits (
    unique_combination_of_columns(columns := enrollment_id, condition := _loaded_at >= @start_dtntz),
    relationships(
      column := student_id,
      parent := intermediate.int_edtech__students_validated,
      parent_column := student_id,
      condition := is_valid AND _loaded_at >= @start_dtntz
    ),
    relationships(
      column := course_id,
      parent := intermediate.int_edtech__courses_validated,
      parent_column := course_id,
      condition := is_valid AND _loaded_at >= @start_dtntz
    ),
    forall_non_blocking(
      criteria := NOT is_before_sign_up,
      condition := is_valid AND _loaded_at >= @start_dtntz
    ),
    forall_non_blocking(
      criteria := NOT is_after_course_end,
      condition := is_valid AND _loaded_at >= @start_dtntz
    )
  )
);

SELECT
  enrollments.enrollment_id, /* Enrollment */
  enrollments.student_id, /* Student who enrolled */
  enrollments.course_id, /* Course enrolled in */
  enrollments.enrollment_date, /* Day of the enrollment */
  COALESCE(enrollments.enrollment_date < students.enrollment_date, FALSE) AS is_before_sign_up, /* Whether the student enrolled before the sign-up date */
  COALESCE(enrollments.enrollment_date > courses.end_date, FALSE) AS is_after_course_end, /* Whether the student enrolled after the last day of the course */
  enrollments.reject_reasons IS NULL AND NOT enrollments.is_deleted AS is_valid, /* Whether the enrollment is accepted and not soft-deleted */
  enrollments.updated_at, /* When the source last wrote the enrollment, UTC */
  enrollments._loaded_at /* Start of the newest load that affected the enrollment, its student or its course, UTC */
FROM intermediate.int_edtech__enrollments_validated AS enrollments
LEFT JOIN intermediate.int_edtech__students_validated AS students
  ON enrollments.student_id = students.student_id AND students.recency_rank = 1
LEFT JOIN intermediate.int_edtech__courses_validated AS courses
  ON enrollments.course_id = courses.course_id AND courses.recency_rank = 1
WHERE
  NOT enrollments.enrollment_id IS NULL
  AND enrollments.recency_rank = 1
  AND enrollments._loaded_at >= @start_dtntz
