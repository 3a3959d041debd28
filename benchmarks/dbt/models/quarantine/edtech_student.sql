select
    student_id,
    recency_rank,
    first_name,
    last_name,
    gender,
    enrollment_date,
    reject_reasons,
    is_deleted,
    updated_at,
    _loaded_at
from {{ ref('int_edtech__students_validated') }}
where reject_reasons is not null
