select
    enrollment_id::bigint as enrollment_id,
    student_id::bigint as student_id,
    course_id::bigint as course_id,
    enrollment_date::date as enrollment_date,
    updated_at::timestamp as updated_at,
    coalesce(deleted_at, _deleted_at)::timestamp as deleted_at,
    _loaded_at::timestamp as _loaded_at
from {{ source('edtech', 'enrollments') }}
