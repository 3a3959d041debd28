select
    student_id::bigint as student_id,
    enrollment_id::bigint as enrollment_id,
    course_id::bigint as course_id,
    enrollment_date::date as enrollment_date,
    count(*) over (
        partition by student_id
        order by enrollment_date, enrollment_id
        rows between unbounded preceding and current row
    )::int as cumulative_enrollment_count
from {{ ref('fct_enrollment') }}
