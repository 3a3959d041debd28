select
    courses.course_id::bigint as course_id,
    courses.course_name::varchar as course_name,
    courses.instructor_name::varchar as instructor_name,
    courses.credits::int as credits,
    levels.course_level::varchar as course_level,
    courses.start_date::date as start_date,
    courses.end_date::date as end_date,
    {{ course_status('courses.start_date', 'courses.end_date', as_of_date()) }} as course_status,
    {{ as_of_date() }} between courses.start_date and courses.end_date as is_active,
    greatest(date_diff('day', {{ as_of_date() }}, courses.start_date), 0)::int as days_until_start
from {{ ref('int_edtech__courses_validated') }} as courses
left join {{ ref('ref_course_level') }} as levels
    on courses.credits between levels.credits_from and levels.credits_to
where courses.reject_reasons is null and not courses.is_deleted
