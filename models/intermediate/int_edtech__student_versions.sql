MODEL (
  name intermediate.int_edtech__student_versions,
  kind INCREMENTAL_UNMANAGED (
    disable_restatement TRUE
  ),
  owner learning_analytics,
  cron @cadence,
  grain (student_id, _loaded_at),
  tags (edtech, intermediate),
  description 'One row per student and version. A version is appended when its name, gender or sign-up date changed, when the student was deleted or rejected, and when it came back. history.hist_student shows when each version was valid. RAW has only the newest state, so versions are never computed again: the model is forward-only and cannot be restated. Refresh: incremental (affected keys).',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := (student_id, _loaded_at), condition := _loaded_at >= @start_dtntz)
  )
);

WITH gone AS (
  /* A row that RAW has lost, and a restatement with it. */
  SELECT DISTINCT
    versions.student_id
  FROM intermediate.int_edtech__student_versions AS versions
  LEFT JOIN intermediate.int_edtech__students_validated AS students
    ON versions.student_id = students.student_id
  WHERE
    students.student_id IS NULL
), affected AS (
  SELECT
    student_id,
    @full_name(first_name, last_name) AS full_name,
    gender,
    enrollment_date,
    reject_reasons IS NULL AND NOT is_deleted AS is_present,
    IFF(deleted_at > updated_at, deleted_at, updated_at) AS updated_at, /* A hard-deleted row keeps its updated_at. */
    _loaded_at
  FROM intermediate.int_edtech__students_validated
  WHERE
    NOT student_id IS NULL AND recency_rank = 1 AND _loaded_at >= @since()
  UNION ALL
  SELECT
    student_id,
    NULL AS full_name,
    NULL AS gender,
    NULL AS enrollment_date,
    FALSE AS is_present,
    NULL AS updated_at,
    @execution_dtntz AS _loaded_at
  FROM gone
), ranked AS (
  SELECT
    versions.student_id,
    versions.full_name,
    versions.gender,
    versions.enrollment_date,
    versions.is_present,
    versions._loaded_at,
    ROW_NUMBER() OVER (PARTITION BY versions.student_id ORDER BY versions._loaded_at DESC) AS recency_rank
  FROM intermediate.int_edtech__student_versions AS versions
  WHERE
    versions.student_id IN (
      SELECT
        student_id
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
  affected.student_id::BIGINT AS student_id, /* Student */
  IFF(affected.is_present, affected.full_name, NULL)::VARCHAR AS full_name, /* Given and family name; NULL unless present */
  IFF(affected.is_present, affected.gender, NULL)::VARCHAR AS gender, /* Gender as stated by the student; NULL unless present */
  IFF(affected.is_present, affected.enrollment_date, NULL)::DATE AS enrollment_date, /* Sign-up date; NULL unless present */
  affected.is_present::BOOLEAN AS is_present, /* Whether the student is in the mart from then on */
  affected.updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  IFF(
    affected._loaded_at > COALESCE(latest._loaded_at, '0001-01-01'::TIMESTAMPNTZ),
    affected._loaded_at,
    GREATEST(@execution_dtntz, DATEADD(MICROSECOND, 1, latest._loaded_at)::TIMESTAMPNTZ)
  ) /* A version without a load, after a change of our rules, begins with the run that finds it: always after the one before. */::TIMESTAMPNTZ AS _loaded_at /* Start of the load that brought the version, UTC */
FROM affected
LEFT JOIN latest
  ON affected.student_id = latest.student_id
WHERE
  affected.is_present <> COALESCE(latest.is_present, FALSE)
  OR (
    affected.is_present
    AND (
      affected.full_name IS DISTINCT FROM latest.full_name
      OR affected.gender IS DISTINCT FROM latest.gender
      OR affected.enrollment_date IS DISTINCT FROM latest.enrollment_date
    )
  )
