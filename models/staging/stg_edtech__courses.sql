MODEL (
  name staging.stg_edtech__courses,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (edtech, staging),
  description 'One row per course as loaded, renamed and typed. Keys may repeat here: intermediate.int_edtech__courses_validated decides.'
);

SELECT
  course_id::BIGINT AS course_id, /* Course */
  course_name::VARCHAR AS course_name, /* Title of the course */
  instructor_name::VARCHAR AS instructor_name, /* Who teaches the course */
  credits::INT AS credits, /* Credits the course earns */
  start_date::DATE AS start_date, /* First day of the course */
  end_date::DATE AS end_date, /* Last day of the course */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  deleted_at::TIMESTAMPNTZ AS deleted_at, /* When the source deleted the row, UTC; empty while it lives */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the load that wrote the row, UTC */
FROM raw.edtech.courses
