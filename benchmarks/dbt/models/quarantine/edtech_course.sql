select
    course_id,
    recency_rank,
    course_name,
    instructor_name,
    credits,
    start_date,
    end_date,
    reject_reasons,
    is_deleted,
    updated_at,
    _loaded_at
from {{ ref('int_edtech__courses_validated') }}
where reject_reasons is not null
