MODEL (
  name edtech.rpt_students_by_age_band,
  kind VIEW,
  owner learning_analytics,
  cron '@daily',
  grain age_band,
  tags (edtech, mart),
  description 'One row per age band with a student. Answers: how old are our students? The bands are defined in shared.ref_age_band. A student without a birth date counts as Unknown. Ages are as of the current date in UTC, or of the variable as_of_date where it is set.',
  audits (
    unique_combination_of_columns(columns := age_band),
    not_null(columns := (age_band, student_count))
  )
);

WITH bands AS (
  SELECT
    age_band,
    age_from,
    LEAD(age_from) OVER (ORDER BY age_from) AS next_age_from
  FROM shared.ref_age_band
)
SELECT
  COALESCE(bands.age_band, 'Unknown')::VARCHAR AS age_band, /* Age band in completed years, or Unknown */
  bands.age_from::INT AS age_from, /* Lowest age of the band, to sort by; NULL for Unknown */
  COUNT(*)::INT AS student_count /* Students in the band */
FROM edtech.dim_student AS students
LEFT JOIN bands
  ON students.age_years >= bands.age_from
  AND (
    students.age_years < bands.next_age_from OR bands.next_age_from IS NULL
  )
GROUP BY
  bands.age_band,
  bands.age_from
