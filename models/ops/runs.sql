MODEL (
  name ops.runs,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain run_id,
  tags (
    ops
  ),
  description 'One row per recorded run or plan of any environment, for 400 days (variable run_history_days). Answers: what ran? Who or what started it? How did it end? What failed? Plain `sqlmesh run` and `sqlmesh plan` are not recorded. The process of a run that is running may be gone: the next recorded command in the environment shows it as killed.',
  audits (
    unique_combination_of_columns(columns := run_id, blocking := FALSE)
  )
);

WITH ended AS (
  SELECT
    run_id,
    COALESCE(MAX(IFF(status <> 'killed', status, NULL)), 'killed') AS status, /* A run that was taken for killed may have ended after all */
    MAX(error_class) AS error_class,
    COUNT_IF(is_partial) > 0 AS is_partial,
    MAX(seconds) AS seconds,
    COALESCE(MAX(IFF(status <> 'killed', recorded_at, NULL)), MIN(recorded_at)) AS recorded_at
  FROM staging.stg_run_log__events
  WHERE
    event = 'ended'
  GROUP BY
    run_id
), usual AS (
  SELECT
    started.environment,
    started.command,
    ended.status,
    MEDIAN(ended.seconds::DECIMAL(18, 6)) AS seconds
  FROM staging.stg_run_log__events AS started
  INNER JOIN ended
    ON ended.run_id = started.run_id
  WHERE
    started.event = 'started'
  GROUP BY
    started.environment,
    started.command,
    ended.status
), models AS (
  SELECT
    run_id,
    COUNT_IF(status = 'succeeded') AS succeeded_count,
    COUNT_IF(status = 'failed') AS failed_count,
    COUNT_IF(status = 'skipped') AS skipped_count,
    COALESCE(
      LISTAGG(IFF(status = 'failed', model, NULL), ', ') WITHIN GROUP (ORDER BY
        model),
      ''
    ) AS failed_models,
    SUM(interval_count) AS interval_count,
    SUM(row_count) AS row_count
  FROM staging.stg_run_log__events
  WHERE
    event = 'model'
  GROUP BY
    run_id
), audits AS (
  SELECT
    run_id,
    COUNT_IF(status = 'passed') AS passed_count,
    COUNT_IF(status = 'failed') AS failed_count,
    COUNT_IF(status = 'warned') AS warned_count
  FROM staging.stg_run_log__events
  WHERE
    event = 'audit'
  GROUP BY
    run_id
)
SELECT
  started.run_id::VARCHAR AS run_id, /* Id of the run or plan */
  started.environment::VARCHAR AS environment, /* Environment that was run or planned */
  started.command::VARCHAR AS command, /* run or plan */
  (
    COALESCE(started.is_partial, FALSE) OR COALESCE(ended.is_partial, FALSE)
  )::BOOLEAN AS is_partial, /* Whether only selected models were run, or the run was interrupted */
  started.triggered_by::VARCHAR AS triggered_by, /* Address of the workflow run, name of the scheduler's job, or user@host */
  started.git_commit::VARCHAR AS git_commit, /* Commit of the project, ending in -changed if files differ from it; NULL outside of git */
  started.process::VARCHAR AS process, /* Host and id of the process, such as worker-1:4711 */
  started.recorded_at::TIMESTAMPNTZ AS started_at, /* Start, UTC */
  ended.recorded_at::TIMESTAMPNTZ AS ended_at, /* End, UTC; of a killed run, when that was noticed; NULL while it is running */
  ended.seconds::DECIMAL(18, 3) AS duration_seconds, /* Time that it took; NULL while it is running, and if it was killed */
  usual.seconds::DECIMAL(18, 3) AS usual_seconds, /* Median of all runs or plans of the environment that ended in the same way */
  COALESCE(ended.status, 'running')::VARCHAR AS status, /* running, succeeded, failed, nothing_due or killed */
  ended.error_class::VARCHAR AS error_class, /* Class of the error that failed it */
  NULLIF(models.failed_models, '')::VARCHAR AS failed_models, /* Models that failed, comma-separated */
  COALESCE(models.succeeded_count, 0)::INT AS succeeded_model_count, /* Models computed */
  COALESCE(models.failed_count, 0)::INT AS failed_model_count, /* Models that failed */
  COALESCE(models.skipped_count, 0)::INT AS skipped_model_count, /* Models skipped, because they read one that failed */
  COALESCE(models.interval_count, 0)::INT AS interval_count, /* Intervals computed */
  models.row_count::INT AS row_count, /* Rows written; NULL if the engine reports none, as DuckDB */
  COALESCE(audits.passed_count, 0)::INT AS passed_audit_count, /* Audits that found no row */
  COALESCE(audits.failed_count, 0)::INT AS failed_audit_count, /* Blocking audits that found rows */
  COALESCE(audits.warned_count, 0)::INT AS warned_audit_count /* Other audits that found rows */
FROM staging.stg_run_log__events AS started
LEFT JOIN ended
  ON ended.run_id = started.run_id
LEFT JOIN usual
  ON usual.environment = started.environment
  AND usual.command = started.command
  AND usual.status = ended.status
LEFT JOIN models
  ON models.run_id = started.run_id
LEFT JOIN audits
  ON audits.run_id = started.run_id
WHERE
  started.event = 'started'
