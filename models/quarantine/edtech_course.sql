MODEL (
  name quarantine.edtech_course,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  grain (course_id, recency_rank),
  tags (edtech, quarantine),
  description 'One row per rejected course. Answers: which rows are missing from the marts, why, and since when? What each reason means and what to do about it stands in ops.ref_reject_reason.',
  audits (
    not_null(columns := reject_reasons)
  )
);

SELECT
  course_id, /* Course */
  recency_rank, /* 1 for the newest row with this key, then 2, 3 … */
  course_name, /* Title of the course */
  instructor_name, /* Who teaches the course */
  credits, /* Credits the course earns */
  start_date, /* First day of the course */
  end_date, /* Last day of the course */
  reject_reasons, /* Every reason that applies, separated by ', ' */
  is_deleted, /* Whether the source has deleted the row since */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the row, UTC */
FROM intermediate.int_edtech__courses_validated
WHERE
  NOT reject_reasons IS NULL
