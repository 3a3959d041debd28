MODEL (
  name edtech.rpt_student_enrollment_running_total,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain enrollment_id,
  references (student_id, course_id),
  tags (edtech, mart),
  description 'One row per enrollment, with the cumulative enrollment count of the student. Answers: how soon do students enroll again? Enrollments of the same day count in the order of their keys.',
  audits (
    unique_combination_of_columns(columns := enrollment_id),
    totals_reconcile(measures := 1, against := edtech.fct_enrollment, by := student_id)
  )
);

SELECT
  student_id::BIGINT AS student_id, /* Student */
  enrollment_id::BIGINT AS enrollment_id, /* Enrollment */
  course_id::BIGINT AS course_id, /* Course enrolled in */
  enrollment_date::DATE AS enrollment_date, /* Day of the enrollment */
  COUNT(*) OVER (
    PARTITION BY student_id
    ORDER BY enrollment_date, enrollment_id
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  )::INT AS cumulative_enrollment_count /* Enrollments of the student up to and including this one */
FROM edtech.fct_enrollment
