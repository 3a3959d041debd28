select
    student_id,
    copy_number,
    first_name,
    last_name,
    gender,
    enrollment_date,
    reject_reasons,
    is_deleted,
    updated_at,
    _landed_at
from {{ ref('int_edtech__students_checked') }}
where reject_reasons is not null
