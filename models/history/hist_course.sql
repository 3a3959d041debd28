MODEL (
  name history.hist_course,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain (course_id, valid_from),
  tags (edtech, history),
  description 'One row per course and version. Answers: which dates, credits and instructor did the course have at a given time? A soft-deleted or rejected course has no current version: valid_to is set in all its rows.',
  audits (
    unique_combination_of_columns(columns := (course_id, valid_from))
  )
);

WITH versions AS (
  /* Two runs at the same time append the same version twice. */
  SELECT DISTINCT
    *
  FROM intermediate.int_edtech__course_versions
), ordered AS (
  SELECT
    *,
    LAG(_loaded_at) OVER (PARTITION BY course_id ORDER BY _loaded_at) AS previous_loaded_at
  FROM versions
), dated AS (
  /* A version began when the source wrote it. If that was before the load that brought the version before, or after its own load, updated_at is wrong: the version began with its own load. So each begins after the one before. */
  SELECT
    *,
    IFF(
      updated_at > COALESCE(previous_loaded_at, '0001-01-01'::TIMESTAMPNTZ),
      LEAST(updated_at, _loaded_at),
      _loaded_at
    ) AS valid_from
  FROM ordered
), ranges AS (
  SELECT
    *,
    LEAD(valid_from) OVER (PARTITION BY course_id ORDER BY _loaded_at) AS valid_to
  FROM dated
)
SELECT
  course_id::BIGINT AS course_id, /* Course */
  course_name::VARCHAR AS course_name, /* Title of the course */
  instructor_name::VARCHAR AS instructor_name, /* Name of the instructor */
  credits::INT AS credits, /* Credits the course earns */
  start_date::DATE AS start_date, /* First day of the course */
  end_date::DATE AS end_date, /* Last day of the course */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source wrote the version, UTC */
  valid_from::TIMESTAMPNTZ AS valid_from, /* When the version became valid, UTC */
  valid_to::TIMESTAMPNTZ AS valid_to /* When it ended, UTC; NULL while it is current */
FROM ranges
WHERE
  is_present
