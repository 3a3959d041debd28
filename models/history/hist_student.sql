MODEL (
  name history.hist_student,
  kind SCD_TYPE_2_BY_TIME (
    unique_key student_id,
    updated_at_name updated_at,
    updated_at_as_valid_from TRUE,
    invalidate_hard_deletes TRUE,
    time_data_type TIMESTAMPNTZ
  ),
  owner learning_analytics,
  cron @cadence,
  grain (student_id, valid_from),
  tags (edtech, history),
  description 'One row per student and version. Answers: what did we know about the student at a given time? A deleted student has no version with an open end. No e-mail, no birth date: see pii.student.',
  audits (
    scd2_no_overlaps(key := student_id),
    unique_combination_of_columns(columns := (student_id, valid_from))
  )
);

SELECT
  student_id::BIGINT AS student_id, /* Student */
  @full_name(first_name, last_name)::VARCHAR AS full_name, /* Given and family name; personal, masked on Snowflake */
  gender::VARCHAR AS gender, /* Gender as the student gave it */
  enrollment_date::DATE AS enrollment_date, /* Day of signing up with the platform */
  updated_at::TIMESTAMPNTZ AS updated_at /* When the source last wrote the row, UTC */
FROM intermediate.int_edtech__students_validated
WHERE
  reject_reasons IS NULL AND NOT is_deleted;

ON_VIRTUAL_UPDATE_BEGIN;
@mask(mask_text, full_name);
ON_VIRTUAL_UPDATE_END;
