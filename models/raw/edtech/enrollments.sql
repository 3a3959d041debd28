MODEL (
  name raw.edtech.enrollments,
  kind SEED (
    path '$root/seeds/edtech/enrollments.csv'
  ),
  owner data_platform,
  cron @cadence,
  tags (edtech, raw),
  description 'One row per enrollment of a student in a course, as loaded. May point at students and courses that do not exist. Sample data, made by `meshflow sample`; on the other gateways the loader writes this table.',
  columns (
    enrollment_id BIGINT,
    student_id BIGINT,
    course_id BIGINT,
    enrollment_date DATE,
    created_at TIMESTAMPNTZ,
    updated_at TIMESTAMPNTZ,
    deleted_at TIMESTAMPNTZ,
    _loaded_at TIMESTAMPNTZ
  ),
  column_descriptions (
    enrollment_id = 'Enrollment',
    student_id = 'Student',
    course_id = 'Course',
    enrollment_date = 'Day of the enrollment',
    created_at = 'When the source first wrote the row, UTC',
    updated_at = 'When the source last wrote the row, UTC',
    deleted_at = 'When the source deleted the row, UTC; empty while it lives',
    _loaded_at = 'Start of the load that wrote the row here, UTC'
  ),
  enabled @IF(@gateway = 'local', TRUE, FALSE)
)
