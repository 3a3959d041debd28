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
  description 'One row per student and version. Answers: which name, gender and sign-up date did the student have at a given time? A soft-deleted student has no current version: valid_to is set in all its rows. E-mail and birth date are in pii.student.',
  audits (
    scd2_no_overlaps(key := student_id),
    unique_combination_of_columns(columns := (student_id, valid_from))
  )
);

SELECT
  student_id::BIGINT AS student_id, /* Student */
  @full_name(first_name, last_name)::VARCHAR AS full_name, /* Given and family name; personal, masked on Snowflake */
  gender::VARCHAR AS gender, /* Gender as stated by the student */
  enrollment_date::DATE AS enrollment_date, /* Sign-up date */
  updated_at::TIMESTAMPNTZ AS updated_at /* When the source last wrote the row, UTC */
FROM intermediate.int_edtech__students_validated
WHERE
  reject_reasons IS NULL AND NOT is_deleted;

ON_VIRTUAL_UPDATE_BEGIN;
@mask(mask_text, full_name);
ON_VIRTUAL_UPDATE_END;
