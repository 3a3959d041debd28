select
    course_id::bigint as course_id,
    course_name::varchar as course_name,
    instructor_name::varchar as instructor_name,
    credits::int as credits,
    start_date::date as start_date,
    end_date::date as end_date,
    updated_at::timestamp as updated_at,
    coalesce(deleted_at, _deleted_at)::timestamp as deleted_at,
    _loaded_at::timestamp as _loaded_at
from {{ source('edtech', 'courses') }}
