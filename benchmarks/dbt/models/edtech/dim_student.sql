select
    student_id::bigint as student_id,
    {{ full_name('first_name', 'last_name') }}::varchar as full_name,
    gender::varchar as gender,
    {{ completed_years('date_of_birth', as_of_date()) }}::int as age_years,
    {{ completed_years('date_of_birth', as_of_date()) }} >= 18 as is_adult,
    enrollment_date::date as enrollment_date,
    year(enrollment_date)::int as enrollment_year,
    date_diff('day', enrollment_date, {{ as_of_date() }})::int as days_since_enrollment
from {{ ref('int_edtech__students_validated') }}
where reject_reasons is null and not is_deleted
