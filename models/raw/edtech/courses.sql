MODEL (
  name raw.edtech.courses,
  kind SEED (
    path '$root/seeds/edtech/courses.csv'
  ),
  owner data_platform,
  cron @cadence,
  tags (edtech, raw),
  description 'One row per course of the EdTech source, as loaded. Sample data, made by `meshflow sample`; on the other gateways the loader writes this table.',
  columns (
    course_id BIGINT,
    course_name VARCHAR,
    instructor_name VARCHAR,
    credits INT,
    start_date DATE,
    end_date DATE,
    created_at TIMESTAMPNTZ,
    updated_at TIMESTAMPNTZ,
    deleted_at TIMESTAMPNTZ,
    _loaded_at TIMESTAMPNTZ
  ),
  column_descriptions (
    course_id = 'Course',
    course_name = 'Title of the course',
    instructor_name = 'Who teaches the course',
    credits = 'Credits the course earns',
    start_date = 'First day of the course',
    end_date = 'Last day of the course',
    created_at = 'When the source first wrote the row, UTC',
    updated_at = 'When the source last wrote the row, UTC',
    deleted_at = 'When the source deleted the row, UTC; empty while it lives',
    _loaded_at = 'Start of the load that wrote the row here, UTC'
  ),
  enabled @IF(@gateway = 'local', TRUE, FALSE)
)
