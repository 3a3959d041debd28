MODEL (
  name ops.ref_reject_reason,
  kind SEED (
    path '$root/seeds/ops/ref_reject_reason.csv'
  ),
  owner data_platform,
  cron @cadence,
  grain (source_table, reject_reason),
  tags (ops, reference),
  description 'One row per loaded table and reject reason. Answers: what does the reason mean? What has to be done about it?',
  audits (
    unique_combination_of_columns(columns := (source_table, reject_reason))
  ),
  columns (
    source_table VARCHAR,
    reject_reason VARCHAR,
    meaning VARCHAR,
    remedy VARCHAR
  ),
  column_descriptions (
    source_table = 'Loaded table whose rows the reason applies to',
    reject_reason = 'Reason as written in reject_reasons',
    meaning = 'What is wrong with the row',
    remedy = 'What to do, and where'
  )
)
