MODEL (
  name pii.student,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain student_id,
  tags (edtech, pii),
  description 'One row per student of edtech.dim_student, with personal data. Answers: how do we reach this student? An e-mail address does not identify a student: is_email_shared is true where several students have the same one.',
  audits (
    unique_combination_of_columns(columns := student_id)
  )
);

SELECT
  student_id::BIGINT AS student_id, /* Student */
  @mask(first_name)::VARCHAR AS first_name, /* Given name */
  @mask(last_name)::VARCHAR AS last_name, /* Family name */
  @mask(email)::VARCHAR AS email, /* E-mail address */
  (
    NOT email IS NULL AND COUNT(*) OVER (PARTITION BY LOWER(email)) > 1
  )::BOOLEAN AS is_email_shared, /* Whether another student has the same address */
  @mask(date_of_birth, NULL)::DATE AS date_of_birth /* Date of birth */
FROM intermediate.int_edtech__students_validated
WHERE
  reject_reasons IS NULL AND NOT is_deleted
