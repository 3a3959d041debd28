select
    enrollment_id,
    recency_rank,
    student_id,
    course_id,
    enrollment_date,
    reject_reasons,
    is_deleted,
    updated_at,
    _loaded_at
from {{ ref('int_edtech__enrollments_validated') }}
where reject_reasons is not null
