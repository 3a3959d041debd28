MODEL (
  name intermediate.int_edtech__enrollments_validated,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (enrollment_id, recency_rank),
  references (student_id, course_id),
  tags (edtech, intermediate),
  description 'One row per loaded enrollment row, with its validation result and its warnings. Both depend on the student and the course as they are now. edtech.fct_enrollment shows the accepted rows that are not soft-deleted, quarantine.edtech_enrollment the rejected ones. Suspicious enrollments count.',
  audits (
    unique_combination_of_columns(columns := (enrollment_id, recency_rank))
  )
);

WITH students AS (
  SELECT
    student_id,
    enrollment_date,
    reject_reasons IS NULL AND NOT is_deleted AS is_known,
    _loaded_at
  FROM intermediate.int_edtech__students_validated
  WHERE
    recency_rank = 1
), courses AS (
  SELECT
    course_id,
    end_date,
    reject_reasons IS NULL AND NOT is_deleted AS is_known,
    _loaded_at
  FROM intermediate.int_edtech__courses_validated
  WHERE
    recency_rank = 1
), bounds AS (
  SELECT
    @bounds(dates := enrollment_date)
  FROM intermediate.ref_bound
  WHERE
    source_table = 'edtech.enrollments'
)
SELECT
  enrollments.enrollment_id, /* Enrollment */
  enrollments.recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  enrollments.student_id, /* Student who enrolled */
  enrollments.course_id, /* Course enrolled in */
  enrollments.enrollment_date, /* Day of the enrollment */
  enrollments.is_deleted, /* Whether the enrollment is soft-deleted */
  @reject_reasons(
    missing_enrollment_id := enrollments.enrollment_id IS NULL,
    duplicate_enrollment_id := enrollments.recency_rank > 1 AND NOT enrollments.enrollment_id IS NULL,
    unknown_student := NOT COALESCE(students.is_known, FALSE),
    unknown_course := NOT COALESCE(courses.is_known, FALSE),
    missing_enrollment_date := enrollments.enrollment_date IS NULL,
    enrollment_date_out_of_range := NOT enrollments.enrollment_date BETWEEN bounds.lowest_enrollment_date AND bounds.highest_enrollment_date,
    enrolled_after_load := enrollments.enrollment_date > DATEADD(DAY, 1, enrollments.row_loaded_at::DATE)::DATE
  )::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  COALESCE(enrollments.enrollment_date < students.enrollment_date, FALSE) AS is_before_sign_up, /* Whether the student enrolled before the sign-up date */
  COALESCE(enrollments.enrollment_date > courses.end_date, FALSE) AS is_after_course_end, /* Whether the student enrolled after the last day of the course */
  enrollments.updated_at, /* When the source last wrote the row, UTC */
  GREATEST(
    enrollments._loaded_at,
    COALESCE(students._loaded_at, enrollments._loaded_at),
    COALESCE(courses._loaded_at, enrollments._loaded_at)
  ) AS _loaded_at /* Start of the newest load that affected the enrollment, its student or its course, UTC */
FROM intermediate.int_edtech__enrollments_ranked AS enrollments
LEFT JOIN students
  ON enrollments.student_id = students.student_id
LEFT JOIN courses
  ON enrollments.course_id = courses.course_id
CROSS JOIN bounds
