MODEL (
  name ops.failing_models,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (environment, model),
  tags (
    ops
  ),
  description 'One row per environment and model that failed in the newest run that tried it. Answers: what is failing now? Since when? Which audits found how many rows? It is empty if all is well. A run tries all models that failed before, unless models were selected or it was interrupted. So a model that has left the environment is gone after the next run. A plan that fails changes no model that people read.',
  audits (
    unique_combination_of_columns(columns := (environment, model), blocking := FALSE)
  )
);

WITH computed AS (
  SELECT
    runs.environment,
    runs.run_id,
    runs.started_at,
    model_runs.model,
    model_runs.status,
    model_runs.error_class
  FROM ops.model_runs AS model_runs
  INNER JOIN ops.runs AS runs
    ON model_runs.run_id = runs.run_id
  WHERE
    (
      runs.command = 'run' AND model_runs.status <> 'skipped'
    )
    OR (
      runs.status = 'succeeded' AND model_runs.status = 'succeeded'
    )
), successes AS (
  SELECT
    environment,
    model,
    MAX(started_at) AS last_started_at
  FROM computed
  WHERE
    status = 'succeeded'
  GROUP BY
    environment,
    model
), complete_runs AS (
  SELECT
    environment,
    MAX(started_at) AS last_started_at
  FROM ops.runs
  WHERE
    command = 'run'
    AND NOT is_partial
    AND (
      status = 'nothing_due' OR succeeded_model_count + failed_model_count > 0
    )
  GROUP BY
    environment
), failures AS (
  SELECT
    computed.environment,
    computed.model,
    computed.run_id,
    computed.error_class,
    computed.started_at,
    complete_runs.last_started_at,
    MIN(computed.started_at) OVER (PARTITION BY computed.environment, computed.model) AS failing_since,
    COUNT(*) OVER (PARTITION BY computed.environment, computed.model) AS failed_run_count,
    ROW_NUMBER() OVER (
      PARTITION BY computed.environment, computed.model
      ORDER BY computed.started_at DESC, computed.run_id DESC
    ) AS recency_rank
  FROM computed
  LEFT JOIN successes
    ON computed.environment = successes.environment AND computed.model = successes.model
  LEFT JOIN complete_runs
    ON computed.environment = complete_runs.environment
  WHERE
    computed.status = 'failed'
    AND computed.started_at > COALESCE(successes.last_started_at, '1970-01-01'::TIMESTAMPNTZ)
), audits AS (
  SELECT
    run_id,
    model,
    COALESCE(LISTAGG(audit, ', ') WITHIN GROUP (ORDER BY
      audit), '') AS audits,
    SUM(row_count) AS row_count
  FROM ops.audit_results
  WHERE
    status = 'failed'
  GROUP BY
    run_id,
    model
)
SELECT
  failures.environment::VARCHAR AS environment, /* Environment */
  failures.model::VARCHAR AS model, /* Model, as schema.table */
  failures.failing_since::TIMESTAMPNTZ AS failing_since, /* Start of the first run since which it fails, UTC */
  failures.failed_run_count::INT AS failed_run_count, /* Runs that it has failed in since */
  failures.run_id::VARCHAR AS run_id, /* The newest of these runs */
  failures.started_at::TIMESTAMPNTZ AS started_at, /* Start of this run, UTC */
  failures.error_class::VARCHAR AS error_class, /* Class of the error; NodeAuditsErrors for an audit */
  audits.audits::VARCHAR AS audits, /* Audits that failed it in this run, comma-separated; NULL if none did */
  audits.row_count::INT AS row_count /* Rows that these audits found */
FROM failures
LEFT JOIN audits
  ON failures.run_id = audits.run_id AND failures.model = audits.model
WHERE
  failures.recency_rank = 1
  AND failures.started_at >= COALESCE(failures.last_started_at, '1970-01-01'::TIMESTAMPNTZ)
