{{ config(materialized='view', tags='daily') }}

with students as (
    select
        student_id,
        enrollment_date,
        reject_reasons is null and not is_deleted as is_known,
        _loaded_at
    from {{ ref('int_edtech__students_validated') }}
    where recency_rank = 1
),

courses as (
    select
        course_id,
        end_date,
        reject_reasons is null and not is_deleted as is_known,
        _loaded_at
    from {{ ref('int_edtech__courses_validated') }}
    where recency_rank = 1
),

bounds as (
    {{ bounds('edtech.enrollments', {'enrollment_date': 'date'}) }}
)

select
    enrollments.enrollment_id,
    enrollments.recency_rank,
    enrollments.student_id,
    enrollments.course_id,
    enrollments.enrollment_date,
    enrollments.is_deleted,
    {{ reject_reasons({
        'missing_enrollment_id': 'enrollments.enrollment_id is null',
        'duplicate_enrollment_id': 'enrollments.recency_rank > 1 and enrollments.enrollment_id is not null',
        'unknown_student': 'not coalesce(students.is_known, false)',
        'unknown_course': 'not coalesce(courses.is_known, false)',
        'missing_enrollment_date': 'enrollments.enrollment_date is null',
        'enrollment_date_out_of_range':
            'enrollments.enrollment_date not between bounds.lowest_enrollment_date and bounds.highest_enrollment_date',
        'enrolled_after_load': 'enrollments.enrollment_date > enrollments.row_loaded_at::date + 1',
    }) }} as reject_reasons,
    coalesce(enrollments.enrollment_date < students.enrollment_date, false) as is_before_sign_up,
    coalesce(enrollments.enrollment_date > courses.end_date, false) as is_after_course_end,
    enrollments.updated_at,
    greatest(enrollments._loaded_at, students._loaded_at, courses._loaded_at) as _loaded_at
from {{ ref('int_edtech__enrollments_ranked') }} as enrollments
left join students on enrollments.student_id = students.student_id
left join courses on enrollments.course_id = courses.course_id
cross join bounds
