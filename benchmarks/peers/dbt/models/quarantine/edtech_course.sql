select
    course_id,
    copy_number,
    course_name,
    instructor_name,
    credits,
    start_date,
    end_date,
    reject_reasons,
    is_deleted,
    updated_at,
    _landed_at
from {{ ref('int_edtech__courses_checked') }}
where reject_reasons is not null
