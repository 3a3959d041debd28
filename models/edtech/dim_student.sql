MODEL (
  name edtech.dim_student,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain student_id,
  tags (edtech, mart),
  description 'One row per student. Answers: how old are our students? When did they sign up? Who is an adult? Ages are completed years as of the current date in UTC, or of the variable as_of_date where it is set. Without a birth date they are NULL. E-mail and birth date are in pii.student.',
  audits (
    unique_combination_of_columns(columns := student_id),
    not_null(columns := (student_id, full_name, enrollment_date))
  )
);

SELECT
  student_id::BIGINT AS student_id, /* Student */
  @mask(@full_name(first_name, last_name))::VARCHAR AS full_name, /* Given and family name; personal, masked on Snowflake */
  gender::VARCHAR AS gender, /* Gender as stated by the student */
  @completed_years(date_of_birth, @as_of_date())::INT AS age_years, /* Completed years of age */
  (
    @completed_years(date_of_birth, @as_of_date()) >= 18
  )::BOOLEAN AS is_adult, /* Whether the student is 18 or older */
  enrollment_date::DATE AS enrollment_date, /* Sign-up date */
  YEAR(enrollment_date)::INT AS enrollment_year, /* Year of the sign-up date */
  DATEDIFF(DAY, enrollment_date, @as_of_date())::INT AS days_since_enrollment /* Days since the sign-up date; negative if it is after as_of_date */
FROM intermediate.int_edtech__students_validated
WHERE
  reject_reasons IS NULL AND NOT is_deleted
