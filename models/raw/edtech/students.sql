MODEL (
  name raw.edtech.students,
  kind SEED (
    path '$root/seeds/edtech/students.csv'
  ),
  owner data_platform,
  cron @cadence,
  tags (edtech, raw),
  description 'One row per student of the EdTech source, as loaded. Keys may repeat, people may share an e-mail. Sample data, made by `meshflow sample`; on the other gateways the loader writes this table.',
  columns (
    student_id BIGINT,
    first_name VARCHAR,
    last_name VARCHAR,
    email VARCHAR,
    gender VARCHAR,
    enrollment_date DATE,
    date_of_birth DATE,
    created_at TIMESTAMPNTZ,
    updated_at TIMESTAMPNTZ,
    deleted_at TIMESTAMPNTZ,
    _loaded_at TIMESTAMPNTZ
  ),
  column_descriptions (
    student_id = 'Student',
    first_name = 'Given name',
    last_name = 'Family name',
    email = 'E-mail address; different people share one',
    gender = 'Gender as the student gave it',
    enrollment_date = 'First day as a student',
    date_of_birth = 'Date of birth',
    created_at = 'When the source first wrote the row, UTC',
    updated_at = 'When the source last wrote the row, UTC',
    deleted_at = 'When the source deleted the row, UTC; empty while it lives',
    _loaded_at = 'Start of the load that wrote the row here, UTC'
  ),
  enabled @IF(@gateway = 'local', TRUE, FALSE)
)
