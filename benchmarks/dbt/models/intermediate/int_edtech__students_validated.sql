{{ config(unique_key='student_id') }}

with loaded as (
    from {{ ref('stg_edtech__students') }}
    {% if is_incremental() %}
    where student_id in (select student_id from {{ ref('stg_edtech__students') }} where {{ is_new() }})
    union all
    from {{ ref('stg_edtech__students') }} where student_id is null
    {% endif %}
),

ranked as (
    select
        *,
        row_number() over (
            partition by student_id
            order by
                updated_at desc,
                _loaded_at desc nulls first,
                enrollment_date desc nulls first,
                email desc nulls first,
                date_of_birth,
                last_name,
                first_name,
                gender,
                deleted_at nulls first
        ) as recency_rank,
        max(_loaded_at) over (partition by student_id) as latest_loaded_at
    from loaded
),

bounds as (
    {{ bounds('edtech.students', {'enrollment_date': 'date', 'date_of_birth': 'date'}) }}
)

select
    student_id,
    recency_rank::int as recency_rank,
    first_name,
    last_name,
    email,
    gender,
    date_of_birth,
    enrollment_date,
    deleted_at is not null as is_deleted,
    deleted_at,
    {{ reject_reasons({
        'missing_student_id': 'student_id is null',
        'duplicate_student_id': 'recency_rank > 1 and student_id is not null',
        'missing_name': full_name('first_name', 'last_name') ~ " = ''",
        'missing_enrollment_date': 'enrollment_date is null',
        'enrollment_date_out_of_range': 'enrollment_date not between lowest_enrollment_date and highest_enrollment_date',
        'enrolled_after_load': 'enrollment_date > _loaded_at::date + 1',
        'impossible_date_of_birth':
            'date_of_birth not between lowest_date_of_birth and highest_date_of_birth or date_of_birth >= enrollment_date',
    }) }} as reject_reasons,
    updated_at,
    latest_loaded_at as _loaded_at
from ranked
cross join bounds
