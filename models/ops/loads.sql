MODEL (
  name ops.loads,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (source_table, started_at),
  tags (
    ops
  ),
  description 'One row per attempt to load a table that a recorded run or plan has found finished, also of those without a row. Answers: is the loader running? Which table was not loaded, and why? Readers of a copy of the warehouse lack RAW, so runs record the load log of RAW.',
  audits (
    unique_combination_of_columns(columns := (source_table, started_at), blocking := FALSE)
  )
);

SELECT DISTINCT
  source_table::VARCHAR AS source_table, /* Loaded table, as schema.table */
  started_at::TIMESTAMPNTZ AS started_at, /* Start of the load, UTC; all tables of a load have the same */
  status::VARCHAR AS status, /* finished; rejected before its first row; failed; or killed */
  error_class::VARCHAR AS error_class, /* Class of the error of a rejected or failed load */
  row_count::INT AS row_count, /* Rows loaded: new, changed or marked as deleted */
  seconds::DECIMAL(18, 3) AS duration_seconds /* Time from the start of the load until the table was loaded; NULL if it was not */
FROM staging.stg_run_log__events
WHERE
  event = 'load'
