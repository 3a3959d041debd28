select
    enrollment_id::bigint as enrollment_id,
    student_id::bigint as student_id,
    course_id::bigint as course_id,
    enrollment_date::date as enrollment_date,
    is_before_sign_up::boolean as is_before_sign_up,
    is_after_course_end::boolean as is_after_course_end,
    updated_at::timestamp as updated_at,
    _loaded_at::timestamp as _loaded_at
from {{ ref('int_edtech__enrollments_validated') }}
where reject_reasons is null and not is_deleted
