MODEL (
  name ops.audit_results,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (run_id, model, audit, arguments),
  references (run_id, (run_id, model)),
  tags (
    ops
  ),
  description 'One row per recorded run or plan and audit that it ran, also of those that passed. Answers: which audit failed? How many rows did it find? Since when? Batches of one model are summed.',
  audits (
    unique_combination_of_columns(columns := (run_id, model, audit, arguments), blocking := FALSE)
  )
);

SELECT
  run_id::VARCHAR AS run_id, /* Id of the run or plan */
  model::VARCHAR AS model, /* Model audited, as schema.table */
  audit::VARCHAR AS audit, /* Name of the audit */
  arguments::VARCHAR AS arguments, /* Arguments of the audit: what it checks */
  status::VARCHAR AS status, /* passed, warned, or failed if the audit is blocking */
  is_blocking::BOOLEAN AS is_blocking, /* Whether rows found by the audit fail the model */
  row_count::INT AS row_count, /* Rows found */
  query::VARCHAR AS query /* Query that returns these rows, of several batches those of the one with the most; NULL if there are none */
FROM staging.stg_run_log__events
WHERE
  event = 'audit'
