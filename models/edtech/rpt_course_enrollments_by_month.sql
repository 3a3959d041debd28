MODEL (
  name edtech.rpt_course_enrollments_by_month,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain (course_id, enrollment_year),
  references course_id,
  tags (edtech, mart),
  description 'One row per course and year with an enrollment, with a column per month. Answers: in which months do students enroll in a course? The columns are fixed: a month without enrollments is 0.',
  audits (
    unique_combination_of_columns(columns := (course_id, enrollment_year)),
    relationships(column := course_id, parent := edtech.dim_course, parent_column := course_id),
    totals_reconcile(
      measures := total_enrollment_count,
      against := edtech.fct_enrollment,
      against_measures := 1,
      by := course_id
    )
  )
);

SELECT
  enrollments.course_id::BIGINT AS course_id, /* Course */
  courses.course_name::VARCHAR AS course_name, /* Title of the course */
  YEAR(enrollments.enrollment_date)::INT AS enrollment_year, /* Year of the enrollments */
  @month_pivot(enrollments.enrollment_date, enrollment)
FROM edtech.fct_enrollment AS enrollments
INNER JOIN edtech.dim_course AS courses
  ON enrollments.course_id = courses.course_id
GROUP BY
  enrollments.course_id,
  courses.course_name,
  YEAR(enrollments.enrollment_date)
