MODEL (
  name shared.ref_province,
  kind SEED (
    path '$root/seeds/shared/ref_province.csv'
  ),
  owner retail_analytics,
  cron @cadence,
  grain (country, province),
  tags (retail, reference),
  description 'One row per province or state the retailer ships to. Answers: which sales region does it belong to?',
  audits (
    unique_combination_of_columns(columns := (country, province))
  ),
  columns (
    country VARCHAR,
    province VARCHAR,
    region VARCHAR
  ),
  column_descriptions (
    country = 'Country',
    province = 'Province or state, as the retail source writes it',
    region = 'Sales region of the province or state'
  )
)
