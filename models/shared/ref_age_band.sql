MODEL (
  name shared.ref_age_band,
  kind SEED (
    path '$root/seeds/shared/ref_age_band.csv'
  ),
  owner learning_analytics,
  cron @cadence,
  grain age_from,
  tags (edtech, reference),
  description 'One row per age band. A band ends where the next one begins. Answers: which band does a student count in? Change the bands here, not in SQL.',
  audits (
    unique_combination_of_columns(columns := age_from)
  ),
  columns (
    age_from INT,
    age_band VARCHAR
  ),
  column_descriptions (
    age_from = 'Lowest age of the band, in completed years',
    age_band = 'Name of the band'
  )
)
