MODEL (
  name quarantine.edtech_course,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (course_id, recency_rank),
  tags (edtech, quarantine),
  description 'One row per rejected course row. Answers: which rows are missing from the marts? Why, and since when? ops.ref_reject_reason describes each reason and its remedy.'
);

SELECT
  course_id, /* Course */
  recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  course_name, /* Title of the course */
  instructor_name, /* Name of the instructor */
  credits, /* Credits the course earns */
  start_date, /* First day of the course */
  end_date, /* Last day of the course */
  reject_reasons, /* Comma-separated reject reasons */
  is_deleted, /* Whether the row is soft-deleted */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the row, UTC */
FROM intermediate.int_edtech__courses_validated
WHERE
  NOT reject_reasons IS NULL
