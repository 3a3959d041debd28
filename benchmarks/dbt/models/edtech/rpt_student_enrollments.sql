select
    students.student_id::bigint as student_id,
    students.full_name::varchar as full_name,
    enrollments.enrollment_id is not null as has_enrollment,
    enrollments.enrollment_id::bigint as enrollment_id,
    enrollments.enrollment_date::date as enrollment_date,
    courses.course_id::bigint as course_id,
    courses.course_name::varchar as course_name,
    courses.course_level::varchar as course_level,
    courses.credits::int as credits,
    courses.course_status::varchar as course_status
from {{ ref('dim_student') }} as students
left join {{ ref('fct_enrollment') }} as enrollments on students.student_id = enrollments.student_id
left join {{ ref('dim_course') }} as courses on enrollments.course_id = courses.course_id
