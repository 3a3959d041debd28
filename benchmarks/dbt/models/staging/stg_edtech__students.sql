select
    student_id::bigint as student_id,
    first_name::varchar as first_name,
    last_name::varchar as last_name,
    email::varchar as email,
    gender::varchar as gender,
    date_of_birth::date as date_of_birth,
    enrollment_date::date as enrollment_date,
    updated_at::timestamp as updated_at,
    coalesce(deleted_at, _deleted_at)::timestamp as deleted_at,
    _loaded_at::timestamp as _loaded_at
from {{ source('edtech', 'students') }}
