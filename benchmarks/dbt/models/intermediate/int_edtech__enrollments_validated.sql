{{ config(unique_key='coalesce(enrollment_id, -1), recency_rank') }}

with students as (
    select
        student_id,
        _loaded_at,
        reject_reasons is null and not is_deleted as is_known
    from {{ ref('int_edtech__students_validated') }}
    where recency_rank = 1
),

courses as (
    select
        course_id,
        _loaded_at,
        reject_reasons is null and not is_deleted as is_known
    from {{ ref('int_edtech__courses_validated') }}
    where recency_rank = 1
),

{% if is_incremental() %}
-- Loaded enrollments, and those of loaded students and courses. The newest load is read again: a load writes one
-- _loaded_at to three tables and commits them one by one.
affected as (
    select enrollment_id from {{ ref('stg_edtech__enrollments') }} where _loaded_at >= {{ newest_load() }}
    union
    select enrollment_id from {{ ref('stg_edtech__enrollments') }}
    where student_id in (select student_id from students where _loaded_at >= {{ newest_load() }})
    union
    select enrollment_id from {{ ref('stg_edtech__enrollments') }}
    where course_id in (select course_id from courses where _loaded_at >= {{ newest_load() }})
),

loaded as (
    select enrollments.*
    from {{ ref('stg_edtech__enrollments') }} as enrollments
    inner join affected on enrollments.enrollment_id = affected.enrollment_id
    union all
    from {{ ref('stg_edtech__enrollments') }} where enrollment_id is null
),
{% else %}
loaded as (
    from {{ ref('stg_edtech__enrollments') }}
),
{% endif %}

ranked as (
    select
        *,
        row_number() over (
            partition by enrollment_id
            order by
                updated_at desc,
                _loaded_at desc nulls first,
                student_id,
                course_id,
                enrollment_date,
                deleted_at nulls first
        ) as recency_rank,
        max(_loaded_at) over (partition by enrollment_id) as latest_loaded_at
    from loaded
),

validated as (
    select
        enrollments.enrollment_id,
        enrollments.recency_rank,
        enrollments.student_id,
        enrollments.course_id,
        enrollments.enrollment_date,
        enrollments.deleted_at,
        enrollments.updated_at,
        enrollments._loaded_at as row_loaded_at,
        coalesce(students.is_known, false) as is_student_known,
        coalesce(courses.is_known, false) as is_course_known,
        greatest(enrollments.latest_loaded_at, students._loaded_at, courses._loaded_at) as _loaded_at
    from ranked as enrollments
    left join students on enrollments.student_id = students.student_id
    left join courses on enrollments.course_id = courses.course_id
)

select
    enrollment_id,
    recency_rank::int as recency_rank,
    student_id,
    course_id,
    enrollment_date,
    deleted_at is not null as is_deleted,
    {{ reject_reasons({
        'missing_enrollment_id': 'enrollment_id is null',
        'duplicate_enrollment_id': 'recency_rank > 1 and enrollment_id is not null',
        'unknown_student': 'not is_student_known',
        'unknown_course': 'not is_course_known',
        'missing_enrollment_date': 'enrollment_date is null',
        'enrolled_after_load': 'enrollment_date > row_loaded_at::date + 1',
    }) }} as reject_reasons,
    updated_at,
    _loaded_at
from validated
{% if is_incremental() %}
where _loaded_at >= {{ newest_load() }}
{% endif %}
