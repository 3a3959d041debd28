MODEL (
  name ops.model_runs,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (run_id, model),
  references run_id,
  tags (
    ops
  ),
  description 'One row per recorded run or plan and model that was due in it. Answers: what took how long? Which model failed? Which were skipped, and because of whom? Of a killed run the models are not known.',
  audits (
    unique_combination_of_columns(columns := (run_id, model), blocking := FALSE)
  )
);

SELECT
  run_id::VARCHAR AS run_id, /* Id of the run or plan */
  model::VARCHAR AS model, /* Model, as schema.table */
  status::VARCHAR AS status, /* succeeded, failed or skipped */
  error_class::VARCHAR AS error_class, /* Class of the error that failed the model; NodeAuditsErrors for an audit */
  because_of::VARCHAR AS because_of, /* Failed models that a skipped one reads, directly or not, comma-separated */
  started_at::TIMESTAMPNTZ AS started_at, /* Start of the first batch, UTC; NULL if the model was skipped */
  seconds::DECIMAL(18, 3) AS duration_seconds, /* Time that it took, its audits included, summed over batches */
  interval_count::INT AS interval_count, /* Intervals computed */
  interval_start_at::TIMESTAMPNTZ AS interval_start_at, /* Start of the first of these intervals, UTC */
  interval_end_at::TIMESTAMPNTZ AS interval_end_at, /* End of the last of these intervals, UTC */
  row_count::INT AS row_count /* Rows written; NULL if the engine does not report it */
FROM staging.stg_run_log__events
WHERE
  event = 'model'
