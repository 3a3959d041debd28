{{ config(unique_key='enrollment_id') }}

select
    enrollments.enrollment_id,
    enrollments.student_id,
    enrollments.course_id,
    enrollments.enrollment_date,
    coalesce(enrollments.enrollment_date < students.enrollment_date, false) as is_before_sign_up,
    coalesce(enrollments.enrollment_date > courses.end_date, false) as is_after_course_end,
    enrollments.reject_reasons is null and not enrollments.is_deleted as is_valid,
    enrollments.updated_at,
    enrollments._loaded_at
from {{ ref('int_edtech__enrollments_validated') }} as enrollments
left join {{ ref('int_edtech__students_validated') }} as students
    on enrollments.student_id = students.student_id and students.recency_rank = 1
left join {{ ref('int_edtech__courses_validated') }} as courses
    on enrollments.course_id = courses.course_id and courses.recency_rank = 1
where
    enrollments.enrollment_id is not null
    and enrollments.recency_rank = 1
    {% if is_incremental() %}
    -- The newest load is read again, as in int_edtech__enrollments_validated.
    and enrollments._loaded_at >= {{ newest_load() }}
    {% endif %}
