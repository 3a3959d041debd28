MODEL (
  name history.hist_student,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain (student_id, valid_from),
  tags (edtech, history),
  description 'One row per student and version. Answers: which name, gender and sign-up date did the student have at a given time? A soft-deleted or rejected student has no current version: valid_to is set in all its rows. E-mail and birth date are in pii.student.',
  audits (
    unique_combination_of_columns(columns := (student_id, valid_from))
  )
);

WITH versions AS (
  /* Two runs at the same time append the same version twice. */
  SELECT DISTINCT
    *
  FROM intermediate.int_edtech__student_versions
), ordered AS (
  SELECT
    *,
    LAG(_loaded_at) OVER (PARTITION BY student_id ORDER BY _loaded_at) AS previous_loaded_at
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
    LEAD(valid_from) OVER (PARTITION BY student_id ORDER BY _loaded_at) AS valid_to
  FROM dated
)
SELECT
  student_id::BIGINT AS student_id, /* Student */
  @mask(full_name)::VARCHAR AS full_name, /* Given and family name; personal, masked on Snowflake */
  gender::VARCHAR AS gender, /* Gender as stated by the student */
  enrollment_date::DATE AS enrollment_date, /* Sign-up date */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source wrote the version, UTC */
  valid_from::TIMESTAMPNTZ AS valid_from, /* When the version became valid, UTC */
  valid_to::TIMESTAMPNTZ AS valid_to /* When it ended, UTC; NULL while it is current */
FROM ranges
WHERE
  is_present
