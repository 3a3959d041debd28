MODEL (
  name intermediate.int_edtech__enrollments_validated,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(enrollment_id, -1), recency_rank)
  ),
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain (enrollment_id, recency_rank),
  tags (edtech, intermediate),
  description 'One row per loaded enrollment row, with its validation result. Rejected and soft-deleted rows stay, because a merge does not remove rows: readers filter on reject_reasons and is_deleted. The result depends on the student and the course too, so a load of either one validates the enrollment again. Refresh: incremental (affected keys).',
  signals (
    source_loaded(source := 'edtech', gateway := @gateway)
  ),
  audits (
    unique_combination_of_columns(columns := (enrollment_id, recency_rank), condition := _loaded_at >= @start_dtntz),
    row_counts_reconcile(
      against := staging.stg_edtech__enrollments,
      key := enrollment_id,
      since := @start_dtntz
    ),
    max_deletion_rate(max_rate := 0.2)
  )
);

WITH students AS (
  SELECT
    student_id,
    _loaded_at,
    reject_reasons IS NULL AND NOT is_deleted AS is_known
  FROM intermediate.int_edtech__students_validated
  WHERE
    recency_rank = 1
), courses AS (
  SELECT
    course_id,
    _loaded_at,
    reject_reasons IS NULL AND NOT is_deleted AS is_known
  FROM intermediate.int_edtech__courses_validated
  WHERE
    recency_rank = 1
), affected AS (
  SELECT
    enrollments.enrollment_id
  FROM staging.stg_edtech__enrollments AS enrollments
  WHERE
    enrollments._loaded_at >= @start_dtntz
  UNION
  SELECT
    enrollments.enrollment_id
  FROM staging.stg_edtech__enrollments AS enrollments
  INNER JOIN students
    ON enrollments.student_id = students.student_id
  WHERE
    students._loaded_at >= @start_dtntz
  UNION
  SELECT
    enrollments.enrollment_id
  FROM staging.stg_edtech__enrollments AS enrollments
  INNER JOIN courses
    ON enrollments.course_id = courses.course_id
  WHERE
    courses._loaded_at >= @start_dtntz
), loaded AS (
  SELECT
    *
  FROM staging.stg_edtech__enrollments
  WHERE
    @is_affected(enrollment_id)
  UNION ALL
  SELECT
    *
  FROM staging.stg_edtech__enrollments
  WHERE
    enrollment_id IS NULL
), ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY enrollment_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, student_id, course_id, enrollment_date, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY enrollment_id) AS latest_loaded_at
  FROM loaded
), joined AS (
  SELECT
    enrollments.enrollment_id,
    enrollments.recency_rank,
    enrollments.student_id,
    enrollments.course_id,
    enrollments.enrollment_date,
    enrollments.deleted_at,
    enrollments.updated_at,
    enrollments._loaded_at AS row_loaded_at,
    COALESCE(students.is_known, FALSE) AS is_student_known,
    COALESCE(courses.is_known, FALSE) AS is_course_known,
    GREATEST(
      enrollments.latest_loaded_at,
      COALESCE(students._loaded_at, enrollments.latest_loaded_at),
      COALESCE(courses._loaded_at, enrollments.latest_loaded_at)
    ) AS _loaded_at
  FROM ranked AS enrollments
  LEFT JOIN students
    ON enrollments.student_id = students.student_id
  LEFT JOIN courses
    ON enrollments.course_id = courses.course_id
)
SELECT
  enrollment_id, /* Enrollment */
  recency_rank::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  student_id, /* Student who enrolled */
  course_id, /* Course enrolled in */
  enrollment_date, /* Day of the enrollment */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the enrollment is soft-deleted */
  @reject_reasons(
    missing_enrollment_id := enrollment_id IS NULL,
    duplicate_enrollment_id := recency_rank > 1 AND NOT enrollment_id IS NULL,
    unknown_student := NOT is_student_known,
    unknown_course := NOT is_course_known,
    missing_enrollment_date := enrollment_date IS NULL,
    enrolled_after_load := enrollment_date > DATEADD(DAY, 1, row_loaded_at::DATE)::DATE
  )::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  updated_at, /* When the source last wrote the row, UTC */
  _loaded_at /* Start of the newest load that affected the enrollment, its student or its course, UTC */
FROM joined
/* No upper bound: a merge may process a row early and again later. With one, a row whose course loads every hour would be missed. */
WHERE
  _loaded_at >= @start_dtntz
