MODEL (
  name staging.stg_edtech__students,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (edtech, staging),
  description 'One row per loaded student row, with renamed and cast columns. Keys may repeat: intermediate.int_edtech__students_validated ranks and validates the rows.',
  signals (
    source_loaded(source := 'edtech', gateway := @gateway)
  ),
  audits (
    max_deletion_rate(max_rate := 0.2)
  )
);

SELECT
  student_id::BIGINT AS student_id, /* Student */
  first_name::VARCHAR AS first_name, /* Given name */
  last_name::VARCHAR AS last_name, /* Family name */
  email::VARCHAR AS email, /* E-mail address; several people may share one */
  gender::VARCHAR AS gender, /* Gender as stated by the student */
  date_of_birth::DATE AS date_of_birth, /* Date of birth */
  enrollment_date::DATE AS enrollment_date, /* Sign-up date */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  COALESCE(deleted_at::TIMESTAMPNTZ, _deleted_at::TIMESTAMPNTZ) AS deleted_at, /* When the source soft-deleted the row, or a load found it missing there, UTC; NULL while the row is active */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the load that wrote the row, UTC */
FROM raw.edtech.students
