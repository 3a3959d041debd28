MODEL (
  name edtech.rpt_student_credits,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain student_id,
  references student_id,
  tags (edtech, mart),
  description 'One row per student with an enrollment, with a column per course level. Answers: how many credits does each student take, and at which level? A course taken twice counts twice.',
  depends_on (edtech.dim_student, edtech.rpt_student_enrollments),
  audits (
    unique_combination_of_columns(columns := student_id),
    relationships(column := student_id, parent := edtech.dim_student, parent_column := student_id),
    totals_reconcile(
      measures := beginner_credit_count + intermediate_credit_count + advanced_credit_count,
      against := edtech.rpt_student_enrollments,
      against_measures := COALESCE(credits, 0),
      by := student_id
    )
  )
);

SELECT
  enrollments.student_id::BIGINT AS student_id, /* Student */
  SUM(IFF(courses.course_level = 'Beginner', courses.credits, 0))::INT AS beginner_credit_count, /* Credits of Beginner courses */
  SUM(IFF(courses.course_level = 'Intermediate', courses.credits, 0))::INT AS intermediate_credit_count, /* Credits of Intermediate courses */
  SUM(IFF(courses.course_level = 'Advanced', courses.credits, 0))::INT AS advanced_credit_count, /* Credits of Advanced courses */
  SUM(courses.credits)::INT AS total_credit_count /* Credits of all courses */
FROM edtech.fct_enrollment AS enrollments
INNER JOIN edtech.dim_course AS courses
  ON enrollments.course_id = courses.course_id
GROUP BY
  enrollments.student_id
