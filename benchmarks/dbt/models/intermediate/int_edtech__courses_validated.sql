{{ config(unique_key='coalesce(course_id, -1), recency_rank') }}

with ranked as (
    select
        *,
        row_number() over (
            partition by course_id
            order by
                updated_at desc,
                _loaded_at desc nulls first,
                start_date desc nulls first,
                course_name desc nulls first,
                end_date,
                credits,
                instructor_name,
                deleted_at nulls first
        ) as recency_rank,
        max(_loaded_at) over (partition by course_id) as latest_loaded_at
    from {{ ref('stg_edtech__courses') }}
)

select
    course_id,
    recency_rank::int as recency_rank,
    course_name,
    instructor_name,
    credits,
    start_date,
    end_date,
    deleted_at is not null as is_deleted,
    {{ reject_reasons({
        'missing_course_id': 'course_id is null',
        'duplicate_course_id': 'recency_rank > 1 and course_id is not null',
        'missing_course_name': "coalesce(trim(course_name, ' '), '') = ''",
        'missing_course_dates': 'start_date is null or end_date is null',
        'end_before_start': 'end_date < start_date',
        'credits_out_of_range': 'credits is null or credits not between 1 and 60',
    }) }} as reject_reasons,
    updated_at,
    latest_loaded_at as _loaded_at
from ranked
{% if is_incremental() %}
-- A load commits a table in one transaction, so no row of the newest load can arrive later.
where latest_loaded_at > {{ newest_load() }}
{% endif %}
