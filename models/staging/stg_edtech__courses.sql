MODEL (
  name staging.stg_edtech__courses,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (edtech, staging),
  description 'One row per loaded course row, with renamed and cast columns. Keys may repeat: intermediate.int_edtech__courses_validated ranks and validates the rows.',
  signals (
    source_loaded(source := 'edtech', gateway := @gateway)
  ),
  audits (
    max_deletion_rate(max_rate := 0.2)
  )
);

SELECT
  course_id::BIGINT AS course_id, /* Course */
  course_name::VARCHAR AS course_name, /* Title of the course */
  instructor_name::VARCHAR AS instructor_name, /* Name of the instructor */
  credits::INT AS credits, /* Credits the course earns */
  start_date::DATE AS start_date, /* First day of the course */
  end_date::DATE AS end_date, /* Last day of the course */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  COALESCE(deleted_at::TIMESTAMPNTZ, _deleted_at::TIMESTAMPNTZ) AS deleted_at, /* When the source soft-deleted the row, or a load found it missing there, UTC; NULL while the row is active */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the load that wrote the row, UTC */
FROM raw.edtech.courses
