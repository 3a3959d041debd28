select
    enrollments.course_id::bigint as course_id,
    courses.course_name::varchar as course_name,
    year(enrollments.enrollment_date)::int as enrollment_year,
    {{ month_pivot('enrollments.enrollment_date', 'enrollment') | indent(4) }}
from {{ ref('fct_enrollment') }} as enrollments
inner join {{ ref('dim_course') }} as courses on enrollments.course_id = courses.course_id
group by enrollments.course_id, courses.course_name, year(enrollments.enrollment_date)
