MODEL (
  name intermediate.int_edtech__course_versions,
  kind INCREMENTAL_UNMANAGED (
    disable_restatement TRUE
  ),
  owner learning_analytics,
  cron @cadence,
  grain (course_id, _loaded_at),
  tags (edtech, intermediate),
  description 'One row per course and version. A version is appended when one of its columns changed, when the course was deleted or rejected, and when it came back. history.hist_course shows when each version was valid. RAW has only the newest state, so versions are never computed again: the model is forward-only and cannot be restated. Refresh: incremental (affected keys).',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := (course_id, _loaded_at), condition := _loaded_at >= @start_dtntz)
  )
);

WITH gone AS (
  /* A row that RAW has lost, and a restatement with it. */
  SELECT DISTINCT
    versions.course_id
  FROM intermediate.int_edtech__course_versions AS versions
  LEFT JOIN intermediate.int_edtech__courses_validated AS courses
    ON versions.course_id = courses.course_id
  WHERE
    courses.course_id IS NULL
), affected AS (
  SELECT
    course_id,
    course_name,
    instructor_name,
    credits,
    start_date,
    end_date,
    reject_reasons IS NULL AND NOT is_deleted AS is_present,
    IFF(deleted_at > updated_at, deleted_at, updated_at) AS updated_at, /* A hard-deleted row keeps its updated_at. */
    _loaded_at
  FROM intermediate.int_edtech__courses_validated
  WHERE
    NOT course_id IS NULL AND recency_rank = 1 AND _loaded_at >= @since()
  UNION ALL
  SELECT
    course_id,
    NULL AS course_name,
    NULL AS instructor_name,
    NULL AS credits,
    NULL AS start_date,
    NULL AS end_date,
    FALSE AS is_present,
    NULL AS updated_at,
    @execution_dtntz AS _loaded_at
  FROM gone
), ranked AS (
  SELECT
    versions.course_id,
    versions.course_name,
    versions.instructor_name,
    versions.credits,
    versions.start_date,
    versions.end_date,
    versions.is_present,
    versions._loaded_at,
    ROW_NUMBER() OVER (PARTITION BY versions.course_id ORDER BY versions._loaded_at DESC) AS recency_rank
  FROM intermediate.int_edtech__course_versions AS versions
  WHERE
    versions.course_id IN (
      SELECT
        course_id
      FROM affected
    )
), latest AS (
  SELECT
    *
  FROM ranked
  WHERE
    recency_rank = 1
)
SELECT
  affected.course_id::BIGINT AS course_id, /* Course */
  IFF(affected.is_present, affected.course_name, NULL)::VARCHAR AS course_name, /* Title of the course; NULL unless present */
  IFF(affected.is_present, affected.instructor_name, NULL)::VARCHAR AS instructor_name, /* Name of the instructor; NULL unless present */
  IFF(affected.is_present, affected.credits, NULL)::INT AS credits, /* Credits the course earns; NULL unless present */
  IFF(affected.is_present, affected.start_date, NULL)::DATE AS start_date, /* First day of the course; NULL unless present */
  IFF(affected.is_present, affected.end_date, NULL)::DATE AS end_date, /* Last day of the course; NULL unless present */
  affected.is_present::BOOLEAN AS is_present, /* Whether the course is in the mart from then on */
  affected.updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  IFF(
    affected._loaded_at > COALESCE(latest._loaded_at, '0001-01-01'::TIMESTAMPNTZ),
    affected._loaded_at,
    GREATEST(@execution_dtntz, DATEADD(MICROSECOND, 1, latest._loaded_at)::TIMESTAMPNTZ)
  ) /* A version without a load, after a change of our rules, begins with the run that finds it: always after the one before. */::TIMESTAMPNTZ AS _loaded_at /* Start of the load that brought the version, UTC */
FROM affected
LEFT JOIN latest
  ON affected.course_id = latest.course_id
WHERE
  affected.is_present <> COALESCE(latest.is_present, FALSE)
  OR (
    affected.is_present
    AND (
      affected.course_name IS DISTINCT FROM latest.course_name
      OR affected.instructor_name IS DISTINCT FROM latest.instructor_name
      OR affected.credits IS DISTINCT FROM latest.credits
      OR affected.start_date IS DISTINCT FROM latest.start_date
      OR affected.end_date IS DISTINCT FROM latest.end_date
    )
  )
