{{ config(unique_key='enrollment_id') }}

with loaded as (
    from {{ ref('stg_edtech__enrollments') }}
    {% if is_incremental() %}
    where enrollment_id in (select enrollment_id from {{ ref('stg_edtech__enrollments') }} where {{ is_new() }})
    union all
    from {{ ref('stg_edtech__enrollments') }} where enrollment_id is null
    {% endif %}
)

select
    enrollment_id,
    row_number() over (
        partition by enrollment_id
        order by
            updated_at desc,
            _loaded_at desc nulls first,
            student_id,
            course_id,
            enrollment_date,
            deleted_at nulls first
    )::int as recency_rank,
    student_id,
    course_id,
    enrollment_date,
    deleted_at is not null as is_deleted,
    updated_at,
    _loaded_at as row_loaded_at,
    max(_loaded_at) over (partition by enrollment_id) as _loaded_at
from loaded
