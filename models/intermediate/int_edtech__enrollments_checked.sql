MODEL (
  name intermediate.int_edtech__enrollments_checked,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(enrollment_id, -1), copy_number)
  ),
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain (enrollment_id, copy_number),
  tags (edtech, intermediate),
  description 'One row per enrollment as landed, with the verdict on it. Refused rows and deleted ones stay, because a merge cannot remove rows: readers filter on reject_reasons and is_deleted. The verdict depends on the student and the course too, so a landing of either one decides the enrollment anew.',
  signals (
    landed(source := 'edtech', gateway := @gateway)
  ),
  audits (
    grain_is_unique(columns := (enrollment_id, copy_number), condition := _landed_at >= @start_dtntz),
    rows_are_conserved(
      landed := staging.stg_edtech__enrollments,
      key := enrollment_id,
      since := @start_dtntz
    ),
    live_rows_hold(max_drop_rate := 0.2)
  )
);

WITH students AS (
  SELECT
    student_id,
    _landed_at,
    reject_reasons IS NULL AND NOT is_deleted AS is_known
  FROM intermediate.int_edtech__students_checked
  WHERE
    copy_number = 1
), courses AS (
  SELECT
    course_id,
    _landed_at,
    reject_reasons IS NULL AND NOT is_deleted AS is_known
  FROM intermediate.int_edtech__courses_checked
  WHERE
    copy_number = 1
), touched AS (
  SELECT
    enrollments.enrollment_id
  FROM staging.stg_edtech__enrollments AS enrollments
  WHERE
    enrollments._landed_at >= @start_dtntz
  UNION
  SELECT
    enrollments.enrollment_id
  FROM staging.stg_edtech__enrollments AS enrollments
  INNER JOIN students
    ON enrollments.student_id = students.student_id
  WHERE
    students._landed_at >= @start_dtntz
  UNION
  SELECT
    enrollments.enrollment_id
  FROM staging.stg_edtech__enrollments AS enrollments
  INNER JOIN courses
    ON enrollments.course_id = courses.course_id
  WHERE
    courses._landed_at >= @start_dtntz
), landed AS (
  SELECT
    *
  FROM staging.stg_edtech__enrollments
  WHERE
    @is_touched(enrollment_id)
  UNION ALL
  SELECT
    *
  FROM staging.stg_edtech__enrollments
  WHERE
    enrollment_id IS NULL
), numbered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY enrollment_id
      ORDER BY updated_at DESC NULLS LAST, _landed_at DESC, student_id, course_id, enrollment_date, deleted_at NULLS FIRST
    ) AS copy_number,
    MAX(_landed_at) OVER (PARTITION BY enrollment_id) AS key_landed_at
  FROM landed
), judged AS (
  SELECT
    enrollments.enrollment_id,
    enrollments.copy_number,
    enrollments.student_id,
    enrollments.course_id,
    enrollments.enrollment_date,
    enrollments.deleted_at,
    enrollments.updated_at,
    enrollments._landed_at AS row_landed_at,
    COALESCE(students.is_known, FALSE) AS is_student_known,
    COALESCE(courses.is_known, FALSE) AS is_course_known,
    GREATEST(
      enrollments.key_landed_at,
      COALESCE(students._landed_at, enrollments.key_landed_at),
      COALESCE(courses._landed_at, enrollments.key_landed_at)
    ) AS _landed_at
  FROM numbered AS enrollments
  LEFT JOIN students
    ON enrollments.student_id = students.student_id
  LEFT JOIN courses
    ON enrollments.course_id = courses.course_id
)
SELECT
  enrollment_id, /* Enrollment */
  copy_number::INT AS copy_number, /* 1 for the newest row with this key, then 2, 3 … */
  student_id, /* Student who enrolled */
  course_id, /* Course enrolled in */
  enrollment_date, /* Day of the enrollment */
  NOT deleted_at IS NULL AS is_deleted, /* Whether the application deleted the enrollment */
  @reject_reasons(
    missing_enrollment_id := enrollment_id IS NULL,
    duplicate_enrollment_id := copy_number > 1 AND NOT enrollment_id IS NULL,
    unknown_student := NOT is_student_known,
    unknown_course := NOT is_course_known,
    missing_enrollment_date := enrollment_date IS NULL,
    enrolled_after_landing := enrollment_date > DATEADD(DAY, 1, row_landed_at::DATE)::DATE
  )::VARCHAR AS reject_reasons, /* Every reason for refusing the row, empty if accepted */
  updated_at, /* When the application last wrote the row, UTC */
  _landed_at /* Start of the newest load that touched the enrollment, its student or its course, UTC */
FROM judged
/* No upper bound: a merge may see a row early and again later, but must not miss one whose course lands every hour. */
WHERE
  _landed_at >= @start_dtntz
