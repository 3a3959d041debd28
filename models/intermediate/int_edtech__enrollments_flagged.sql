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
  description 'One row per enrollment key ever landed, with what is odd about it. Odd rows count; is_valid is false for those refused or deleted, which stay because a merge cannot remove rows. edtech.fct_enrollment shows the valid ones. A table of its own, written after the audits of int_edtech__enrollments_checked have passed.',
  audits (
    grain_is_unique(columns := enrollment_id, condition := _landed_at >= @start_dtntz),
    references_exist(
      column := student_id,
      parent := intermediate.int_edtech__students_checked,
      parent_column := student_id,
      condition := is_valid AND _landed_at >= @start_dtntz
    ),
    references_exist(
      column := course_id,
      parent := intermediate.int_edtech__courses_checked,
      parent_column := course_id,
      condition := is_valid AND _landed_at >= @start_dtntz
    ),
    odd_rows(flag := is_valid AND is_before_sign_up AND _landed_at >= @start_dtntz),
    odd_rows(flag := is_valid AND is_after_course_end AND _landed_at >= @start_dtntz)
  )
);

SELECT
  enrollments.enrollment_id, /* Enrollment */
  enrollments.student_id, /* Student who enrolled */
  enrollments.course_id, /* Course enrolled in */
  enrollments.enrollment_date, /* Day of the enrollment */
  COALESCE(enrollments.enrollment_date < students.enrollment_date, FALSE) AS is_before_sign_up, /* Whether the student enrolled before signing up with the platform */
  COALESCE(enrollments.enrollment_date > courses.end_date, FALSE) AS is_after_course_end, /* Whether the student enrolled after the last day of the course */
  enrollments.reject_reasons IS NULL AND NOT enrollments.is_deleted AS is_valid, /* Whether the enrollment is accepted and not deleted */
  enrollments.updated_at, /* When the application last wrote the enrollment, UTC */
  enrollments._landed_at /* Start of the newest load that touched the enrollment, its student or its course, UTC */
FROM intermediate.int_edtech__enrollments_checked AS enrollments
LEFT JOIN intermediate.int_edtech__students_checked AS students
  ON enrollments.student_id = students.student_id AND students.copy_number = 1
LEFT JOIN intermediate.int_edtech__courses_checked AS courses
  ON enrollments.course_id = courses.course_id AND courses.copy_number = 1
WHERE
  NOT enrollments.enrollment_id IS NULL
  AND enrollments.copy_number = 1
  AND enrollments._landed_at >= @start_dtntz
