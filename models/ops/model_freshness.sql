MODEL (
  name ops.model_freshness,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  grain (environment, model),
  tags (
    ops
  ),
  description 'One row per environment and model that shows loaded rows, as of the end of the newest recorded run or plan of the environment. Answers: how old is what I am looking at? What keeps it behind? Is a model that it reads failing? `meshflow freshness` computes the same from SQLMesh state at any time.',
  audits (
    unique_combination_of_columns(columns := (environment, model), blocking := FALSE)
  )
);

WITH recorded AS (
  SELECT
    environment,
    model,
    processed_until,
    late_at,
    laggard,
    because_of,
    recorded_at,
    MAX(recorded_at) OVER (PARTITION BY environment) AS newest_recorded_at
  FROM staging.stg_run_log__events
  WHERE
    event = 'freshness'
)
SELECT
  environment::VARCHAR AS environment, /* Environment */
  model::VARCHAR AS model, /* Model, as schema.table */
  processed_until::TIMESTAMPNTZ AS processed_until, /* The model shows all rows that were loaded before, UTC */
  late_at::TIMESTAMPNTZ AS late_at, /* When the model is late unless it is processed before, UTC; NULL if it never is */
  laggard::VARCHAR AS laggard, /* Table that keeps the model behind: itself, or one that it reads */
  because_of::VARCHAR AS failed_models, /* Models that failed in that run, of this one and those that it reads, comma-separated */
  recorded_at::TIMESTAMPNTZ AS recorded_at /* End of that run or plan, UTC */
FROM recorded
WHERE
  recorded_at = newest_recorded_at
