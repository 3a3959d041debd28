with ordered as (
    select
        *,
        lag(_loaded_at) over (partition by course_id order by _loaded_at) as previous_loaded_at
    from {{ ref('int_edtech__course_versions') }}
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
        lead(valid_from) over (partition by course_id order by _loaded_at) as valid_to
    from dated
)

select
    course_id::bigint as course_id,
    course_name::varchar as course_name,
    instructor_name::varchar as instructor_name,
    credits::int as credits,
    start_date::date as start_date,
    end_date::date as end_date,
    updated_at::timestamp as updated_at,
    valid_from::timestamp as valid_from,
    valid_to::timestamp as valid_to
from ranges
where is_present
