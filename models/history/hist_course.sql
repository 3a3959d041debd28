MODEL (
  name history.hist_course,
  kind SCD_TYPE_2_BY_TIME (
    unique_key course_id,
    updated_at_name updated_at,
    updated_at_as_valid_from TRUE,
    invalidate_hard_deletes TRUE,
    time_data_type TIMESTAMPNTZ
  ),
  owner learning_analytics,
  cron @cadence,
  grain (course_id, valid_from),
  tags (edtech, history),
  description 'One row per course and version. Answers: which dates, credits and instructor did the course have at a given time? A soft-deleted course has no current version: valid_to is set in all its rows.',
  audits (
    scd2_no_overlaps(key := course_id),
    unique_combination_of_columns(columns := (course_id, valid_from))
  )
);

SELECT
  course_id::BIGINT AS course_id, /* Course */
  course_name::VARCHAR AS course_name, /* Title of the course */
  instructor_name::VARCHAR AS instructor_name, /* Name of the instructor */
  credits::INT AS credits, /* Credits the course earns */
  start_date::DATE AS start_date, /* First day of the course */
  end_date::DATE AS end_date, /* Last day of the course */
  updated_at::TIMESTAMPNTZ AS updated_at /* When the source last wrote the row, UTC */
FROM intermediate.int_edtech__courses_validated
WHERE
  reject_reasons IS NULL AND NOT is_deleted
