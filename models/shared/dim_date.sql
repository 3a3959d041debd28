MODEL (
  name shared.dim_date,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain date_day,
  tags (
    shared
  ),
  description 'One row per day from 1990-01-01 to 2099-12-31, as the bounds in intermediate.ref_bound. Answers: which days had no sales? Which days are comparable?',
  audits (
    unique_combination_of_columns(columns := date_day)
  )
);

WITH days AS (
  SELECT
    DATEADD(DAY, ROW_NUMBER() OVER (ORDER BY NULL) - 1, '1990-01-01'::DATE)::DATE AS date_day
  FROM TABLE(GENERATOR(ROWCOUNT => 40177))
)
SELECT
  date_day::DATE AS date_day, /* Day */
  YEAR(date_day)::INT AS year_number, /* Calendar year */
  QUARTER(date_day)::INT AS quarter_number, /* Quarter of the year, 1 to 4 */
  MONTH(date_day)::INT AS month_number, /* Month of the year, 1 to 12 */
  DATE_TRUNC('MONTH', date_day)::DATE AS month_start_date, /* First day of the month */
  DAYOFWEEKISO(date_day)::INT AS iso_weekday_number, /* Day of the week, 1 Monday to 7 Sunday */
  (
    DAYOFWEEKISO(date_day) >= 6
  )::BOOLEAN AS is_weekend /* Whether the day is a Saturday or a Sunday */
FROM days
