select
    enrollments.student_id::bigint as student_id,
    {% for level in ['Beginner', 'Intermediate', 'Advanced'] %}
    sum(case when courses.course_level = '{{ level }}' then courses.credits else 0 end)::int
        as {{ level | lower }}_credit_count,
    {% endfor %}
    sum(courses.credits)::int as total_credit_count
from {{ ref('fct_enrollment') }} as enrollments
inner join {{ ref('dim_course') }} as courses on enrollments.course_id = courses.course_id
group by enrollments.student_id
