{{ config(unique_key='coalesce(enrollment_id, -1), copy_number') }}

with students as (
    select
        student_id,
        _landed_at,
        reject_reasons is null and not is_deleted as is_known
    from {{ ref('int_edtech__students_checked') }}
    where copy_number = 1
),

courses as (
    select
        course_id,
        _landed_at,
        reject_reasons is null and not is_deleted as is_known
    from {{ ref('int_edtech__courses_checked') }}
    where copy_number = 1
),

{% if is_incremental() %}
-- Enrollments that landed, or whose student or course did. The newest landing once more: a load stamps three tables with
-- one time and commits them one by one.
touched as (
    select enrollment_id from {{ ref('stg_edtech__enrollments') }} where _landed_at >= {{ newest_landing() }}
    union
    select enrollment_id from {{ ref('stg_edtech__enrollments') }}
    where student_id in (select student_id from students where _landed_at >= {{ newest_landing() }})
    union
    select enrollment_id from {{ ref('stg_edtech__enrollments') }}
    where course_id in (select course_id from courses where _landed_at >= {{ newest_landing() }})
),

landed as (
    select enrollments.*
    from {{ ref('stg_edtech__enrollments') }} as enrollments
    inner join touched on enrollments.enrollment_id = touched.enrollment_id
    union all
    from {{ ref('stg_edtech__enrollments') }} where enrollment_id is null
),
{% else %}
landed as (
    from {{ ref('stg_edtech__enrollments') }}
),
{% endif %}

numbered as (
    select
        *,
        row_number() over (
            partition by enrollment_id
            order by
                updated_at desc,
                _landed_at desc nulls first,
                student_id,
                course_id,
                enrollment_date,
                deleted_at nulls first
        ) as copy_number,
        max(_landed_at) over (partition by enrollment_id) as key_landed_at
    from landed
),

judged as (
    select
        enrollments.enrollment_id,
        enrollments.copy_number,
        enrollments.student_id,
        enrollments.course_id,
        enrollments.enrollment_date,
        enrollments.deleted_at,
        enrollments.updated_at,
        enrollments._landed_at as row_landed_at,
        coalesce(students.is_known, false) as is_student_known,
        coalesce(courses.is_known, false) as is_course_known,
        greatest(enrollments.key_landed_at, students._landed_at, courses._landed_at) as _landed_at
    from numbered as enrollments
    left join students on enrollments.student_id = students.student_id
    left join courses on enrollments.course_id = courses.course_id
)

select
    enrollment_id,
    copy_number::int as copy_number,
    student_id,
    course_id,
    enrollment_date,
    deleted_at is not null as is_deleted,
    {{ reject_reasons({
        'missing_enrollment_id': 'enrollment_id is null',
        'duplicate_enrollment_id': 'copy_number > 1 and enrollment_id is not null',
        'unknown_student': 'not is_student_known',
        'unknown_course': 'not is_course_known',
        'missing_enrollment_date': 'enrollment_date is null',
        'enrolled_after_landing': 'enrollment_date > row_landed_at::date + 1',
    }) }} as reject_reasons,
    updated_at,
    _landed_at
from judged
{% if is_incremental() %}
where _landed_at >= {{ newest_landing() }}
{% endif %}
