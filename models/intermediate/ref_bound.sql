MODEL (
  name intermediate.ref_bound,
  kind SEED (
    path '$root/seeds/intermediate/ref_bound.csv'
  ),
  owner data_platform,
  cron @cadence,
  grain (source_table, column_name),
  tags (intermediate, reference),
  description 'One row per column whose values have bounds. Answers: which values are impossible? Rows with a value outside are rejected. So no sum overflows, and no date is one that readers cannot represent. Change the bounds here, not in SQL.',
  audits (
    unique_combination_of_columns(columns := (source_table, column_name)),
    forall(
      criteria := (
        COALESCE(lowest_number <= highest_number, lowest_date <= highest_date, FALSE)
      )
    )
  ),
  columns (
    source_table VARCHAR,
    column_name VARCHAR,
    lowest_number DECIMAL(18, 2),
    highest_number DECIMAL(18, 2),
    lowest_date DATE,
    highest_date DATE
  ),
  column_descriptions (
    source_table = 'Loaded table',
    column_name = 'Column, as it is named in staging',
    lowest_number = 'Lowest value accepted, of a number',
    highest_number = 'Highest value accepted, of a number',
    lowest_date = 'First day accepted, of a date or a time',
    highest_date = 'Last day accepted, of a date or a time'
  )
)
