MODEL (
  name shared.dim_date,
  kind FULL,
  owner data_platform,
  cron @cadence,
  grain date_day,
  tags (
    shared
  ),
  description 'One row per day from 2010-01-01 to 2039-12-31. Answers: which days had no sales? Which days are comparable?',
  signals (
    not_built()
  ),
  audits (
    unique_combination_of_columns(columns := date_day)
  )
);

WITH days AS (
  SELECT
    DATEADD(DAY, ROW_NUMBER() OVER (ORDER BY NULL) - 1, '2010-01-01'::DATE)::DATE AS date_day
  FROM TABLE(GENERATOR(ROWCOUNT => 10957))
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
