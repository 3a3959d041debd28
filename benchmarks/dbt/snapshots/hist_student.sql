{% snapshot hist_student %}

{{ config(unique_key='student_id', strategy='timestamp', updated_at='updated_at') }}

select
    student_id::bigint as student_id,
    {{ full_name('first_name', 'last_name') }}::varchar as full_name,
    gender::varchar as gender,
    enrollment_date::date as enrollment_date,
    updated_at::timestamp as updated_at
from {{ ref('int_edtech__students_validated') }}
where reject_reasons is null and not is_deleted

{% endsnapshot %}
