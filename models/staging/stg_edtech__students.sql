MODEL (
  name staging.stg_edtech__students,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (edtech, staging),
  description 'One row per student as loaded, renamed and typed. Keys may repeat here: intermediate.int_edtech__students_validated decides.'
);

SELECT
  student_id::BIGINT AS student_id, /* Student */
  first_name::VARCHAR AS first_name, /* Given name */
  last_name::VARCHAR AS last_name, /* Family name */
  email::VARCHAR AS email, /* E-mail address; different people share one */
  gender::VARCHAR AS gender, /* Gender as the student gave it */
  date_of_birth::DATE AS date_of_birth, /* Date of birth */
  enrollment_date::DATE AS enrollment_date, /* Day of signing up with the platform */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  deleted_at::TIMESTAMPNTZ AS deleted_at, /* When the source deleted the row, UTC; empty while it lives */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the load that wrote the row, UTC */
FROM raw.edtech.students
