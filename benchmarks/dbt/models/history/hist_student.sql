with ordered as (
    select
        *,
        lag(_loaded_at) over (partition by student_id order by _loaded_at) as previous_loaded_at
    from {{ ref('int_edtech__student_versions') }}
),

dated as (
    select
        *,
        {{ valid_from('updated_at', 'previous_loaded_at', '_loaded_at') }} as valid_from
    from ordered
),

ranges as (
    select
        *,
        lead(valid_from) over (partition by student_id order by _loaded_at) as valid_to
    from dated
)

select
    student_id::bigint as student_id,
    full_name::varchar as full_name,
    gender::varchar as gender,
    enrollment_date::date as enrollment_date,
    updated_at::timestamp as updated_at,
    valid_from::timestamp as valid_from,
    valid_to::timestamp as valid_to
from ranges
where is_present
