MODEL (
  name edtech.rpt_student_enrollments,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain (student_id, enrollment_id),
  references (student_id, course_id),
  tags (edtech, mart),
  description 'One row per student and enrollment, and one row per student without an enrollment (has_enrollment is false). Answers: which courses does each student take? Which students have no enrollment? Count students with COUNT(DISTINCT student_id).',
  audits (
    unique_combination_of_columns(columns := (student_id, enrollment_id)),
    totals_reconcile(
      measures := IFF(has_enrollment, 1, 0),
      against := edtech.fct_enrollment,
      against_measures := 1,
      by := student_id
    )
  )
);

SELECT
  students.student_id::BIGINT AS student_id, /* Student */
  @mask(students.full_name)::VARCHAR AS full_name, /* Given and family name; personal, masked on Snowflake */
  (
    NOT enrollments.enrollment_id IS NULL
  )::BOOLEAN AS has_enrollment, /* Whether the student has an enrollment */
  enrollments.enrollment_id::BIGINT AS enrollment_id, /* Enrollment */
  enrollments.enrollment_date::DATE AS enrollment_date, /* Day of the enrollment */
  courses.course_id::BIGINT AS course_id, /* Course enrolled in */
  courses.course_name::VARCHAR AS course_name, /* Title of the course */
  courses.course_level::VARCHAR AS course_level, /* Level of the course */
  courses.credits::INT AS credits, /* Credits the course earns */
  courses.course_status::VARCHAR AS course_status /* Status of the course */
FROM edtech.dim_student AS students
LEFT JOIN edtech.fct_enrollment AS enrollments
  ON students.student_id = enrollments.student_id
LEFT JOIN edtech.dim_course AS courses
  ON enrollments.course_id = courses.course_id
