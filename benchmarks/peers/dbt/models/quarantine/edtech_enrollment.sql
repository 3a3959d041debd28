select
    enrollment_id,
    copy_number,
    student_id,
    course_id,
    enrollment_date,
    reject_reasons,
    is_deleted,
    updated_at,
    _landed_at
from {{ ref('int_edtech__enrollments_checked') }}
where reject_reasons is not null
