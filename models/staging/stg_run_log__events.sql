MODEL (
  name staging.stg_run_log__events,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  tags (run_log, staging),
  description 'One row per event of a recorded run or plan: it started, it found a load, a model was computed, an audit ran, a model is processed so far, it ended. The commands `meshflow run` and `meshflow plan` write the events. Rows of other kinds of events have NULL in a column that does not concern them.'
);

@create_run_log();

SELECT
  run_id::VARCHAR AS run_id, /* Id of the run or plan */
  event::VARCHAR AS event, /* started, load, model, audit, freshness or ended */
  recorded_at::TIMESTAMPNTZ AS recorded_at, /* When the event was recorded, UTC; models, audits and freshness at the end of the run */
  environment::VARCHAR AS environment, /* Environment that was run or planned */
  command::VARCHAR AS command, /* run or plan */
  triggered_by::VARCHAR AS triggered_by, /* Address of the workflow run, name of the scheduler's job, or user@host */
  git_commit::VARCHAR AS git_commit, /* Commit of the project, ending in -changed if files differ from it; NULL outside of git */
  process::VARCHAR AS process, /* Host and id of the process, such as worker-1:4711 */
  status::VARCHAR AS status, /* How the run, the load, the model or the audit ended */
  error_class::VARCHAR AS error_class, /* Class of the error, never its text: that may contain values */
  model::VARCHAR AS model, /* Model computed, audited or skipped */
  because_of::VARCHAR AS because_of, /* Failed models that a skipped one reads; of freshness, failed models among it and those it reads */
  interval_count::BIGINT AS interval_count, /* Intervals of the model that were computed */
  interval_start_at::TIMESTAMPNTZ AS interval_start_at, /* Start of the first of these intervals, UTC */
  interval_end_at::TIMESTAMPNTZ AS interval_end_at, /* End of the last of these intervals, UTC */
  audit::VARCHAR AS audit, /* Name of the audit */
  arguments::VARCHAR AS arguments, /* Arguments of the audit: what it checks */
  is_blocking::BOOLEAN AS is_blocking, /* Whether rows found by the audit fail the model */
  row_count::BIGINT AS row_count, /* Rows written to the model, NULL if the engine does not report it; rows found by the audit; rows loaded */
  started_at::TIMESTAMPNTZ AS started_at, /* When the model or the load was started, UTC */
  seconds::DECIMAL(18, 3) AS seconds, /* Time that the model took, its audits included, or the load, or the run */
  query::VARCHAR AS query, /* Query of an audit that found rows; of several batches that with the most */
  source_table::VARCHAR AS source_table, /* Loaded table, as schema.table */
  processed_until::TIMESTAMPNTZ AS processed_until, /* The model shows all rows that were loaded before, UTC */
  late_at::TIMESTAMPNTZ AS late_at, /* When the model is late unless it is processed before, UTC; NULL if it never is */
  laggard::VARCHAR AS laggard, /* Table that keeps the model behind */
  is_partial::BOOLEAN AS is_partial /* Whether only selected models are run; at the end, whether others may be untried */
FROM run_log.events
