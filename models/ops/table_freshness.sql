MODEL (
  name ops.table_freshness,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain source_table,
  tags (
    ops
  ),
  description 'One row per loaded table, including empty ones. Answers: how fresh is each source table? Days are as of the current date in UTC, or of the variable as_of_date where it is set.',
  audits (
    unique_combination_of_columns(columns := source_table),
    not_null(columns := source_table)
  )
);

SELECT
  source_table::VARCHAR AS source_table, /* Loaded table */
  row_count::INT AS row_count, /* Rows loaded, including soft-deleted ones */
  active_row_count::INT AS active_row_count, /* Active rows: not soft-deleted */
  last_updated_at::TIMESTAMPNTZ AS last_updated_at, /* Newest write by the source, UTC; NULL if the table is empty, or the source does not record it */
  last_loaded_at::TIMESTAMPNTZ AS last_loaded_at, /* Start of the newest load that wrote a row, UTC; NULL while the table is empty */
  DATEDIFF(DAY, last_loaded_at::DATE, @as_of_date())::INT AS days_since_loaded /* Days since that load */
FROM intermediate.int_sources__tables_counted
