MODEL (
  name staging.stg_edtech__enrollments,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (edtech, staging),
  description 'One row per loaded enrollment row, with renamed and cast columns. Keys may repeat, and the student or the course may be missing: intermediate.int_edtech__enrollments_ranked ranks the rows, and intermediate.int_edtech__enrollments_validated validates them.',
  signals (
    source_loaded(source := 'edtech', gateway := @gateway)
  ),
  audits (
    max_deletion_rate(max_rate := 0.2)
  )
);

SELECT
  enrollment_id::BIGINT AS enrollment_id, /* Enrollment */
  student_id::BIGINT AS student_id, /* Student who enrolled */
  course_id::BIGINT AS course_id, /* Course enrolled in */
  enrollment_date::DATE AS enrollment_date, /* Day of the enrollment */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  COALESCE(deleted_at::TIMESTAMPNTZ, _deleted_at::TIMESTAMPNTZ) AS deleted_at, /* When the source soft-deleted the row, or a load found it missing there, UTC; NULL while the row is active */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the load that wrote the row, UTC */
FROM raw.edtech.enrollments
