MODEL (
  name shared.ref_course_level,
  kind SEED (
    path '$root/seeds/shared/ref_course_level.csv'
  ),
  owner learning_analytics,
  cron @cadence,
  grain credits_from,
  tags (edtech, reference),
  description 'One row per range of credits. Answers: which level does a course have? Change the levels here, not in SQL.',
  audits (
    unique_combination_of_columns(columns := credits_from),
    accepted_values(column := course_level, is_in := ('Beginner', 'Intermediate', 'Advanced'))
  ),
  columns (
    credits_from INT,
    credits_to INT,
    course_level VARCHAR
  ),
  column_descriptions (
    credits_from = 'Fewest credits of the range',
    credits_to = 'Most credits of the range',
    course_level = 'Beginner, Intermediate or Advanced'
  )
)
