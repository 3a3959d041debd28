select
    student_id::bigint as student_id,
    first_name::varchar as first_name,
    last_name::varchar as last_name,
    email::varchar as email,
    email is not null and count(*) over (partition by lower(email)) > 1 as is_email_shared,
    date_of_birth::date as date_of_birth
from {{ ref('int_edtech__students_validated') }}
where reject_reasons is null and not is_deleted
