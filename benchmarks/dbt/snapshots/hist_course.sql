{% snapshot hist_course %}

{{ config(unique_key='course_id', strategy='timestamp', updated_at='updated_at') }}

select
    course_id::bigint as course_id,
    course_name::varchar as course_name,
    instructor_name::varchar as instructor_name,
    credits::int as credits,
    start_date::date as start_date,
    end_date::date as end_date,
    updated_at::timestamp as updated_at
from {{ ref('int_edtech__courses_validated') }}
where reject_reasons is null and not is_deleted

{% endsnapshot %}
