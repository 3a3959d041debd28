{{ config(unique_key='course_id') }}

with loaded as (
    from {{ ref('stg_edtech__courses') }}
    {% if is_incremental() %}
    where course_id in (select course_id from {{ ref('stg_edtech__courses') }} where {{ is_new() }})
    union all
    from {{ ref('stg_edtech__courses') }} where course_id is null
    {% endif %}
),

ranked as (
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
    from loaded
),

bounds as (
    {{ bounds('edtech.courses', {'credits': 'number', 'start_date': 'date', 'end_date': 'date'}) }}
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
    deleted_at,
    {{ reject_reasons({
        'missing_course_id': 'course_id is null',
        'duplicate_course_id': 'recency_rank > 1 and course_id is not null',
        'missing_course_name': "coalesce(trim(course_name, ' '), '') = ''",
        'missing_course_dates': 'start_date is null or end_date is null',
        'course_dates_out_of_range':
            'start_date not between lowest_start_date and highest_start_date'
            ' or end_date not between lowest_end_date and highest_end_date',
        'end_before_start': 'end_date < start_date',
        'credits_out_of_range': 'credits is null or credits not between lowest_credits and highest_credits',
    }) }} as reject_reasons,
    updated_at,
    latest_loaded_at as _loaded_at
from ranked
cross join bounds
