{{ config(incremental_strategy='append', full_refresh=false) }}

with current as (
    select
        student_id,
        {{ full_name('first_name', 'last_name') }} as full_name,
        gender,
        enrollment_date,
        reject_reasons is null and not is_deleted as is_present,
        if(deleted_at > updated_at, deleted_at, updated_at) as updated_at,
        _loaded_at
    from {{ ref('int_edtech__students_validated') }}
    where
        student_id is not null
        and recency_rank = 1
        {% if is_incremental() %} and {{ is_new() }} {% endif %}
    {% if is_incremental() %}
    union all
    -- A row that RAW has lost, and a full refresh with it.
    select distinct
        versions.student_id,
        null as full_name,
        null as gender,
        null as enrollment_date,
        false as is_present,
        null as updated_at,
        (select max(_loaded_at) from {{ ref('int_edtech__students_validated') }}) as _loaded_at
    from {{ this }} as versions
    anti join {{ ref('int_edtech__students_validated') }} as students on versions.student_id = students.student_id
    {% endif %}
)

select
    current.student_id::bigint as student_id,
    if(current.is_present, current.full_name, null)::varchar as full_name,
    if(current.is_present, current.gender, null)::varchar as gender,
    if(current.is_present, current.enrollment_date, null)::date as enrollment_date,
    current.is_present,
    current.updated_at::timestamp as updated_at,
    {% if is_incremental() %}
    {{ version_loaded_at('current._loaded_at', 'latest._loaded_at') }} as _loaded_at
    {% else %}
    current._loaded_at::timestamp as _loaded_at
    {% endif %}
from current
{% if is_incremental() %}
left join ({{ latest_versions('student_id') }}) as latest on current.student_id = latest.student_id
where
    current.is_present <> coalesce(latest.is_present, false)
    or current.is_present
    and (current.full_name, current.gender, current.enrollment_date)
        is distinct from (latest.full_name, latest.gender, latest.enrollment_date)
{% else %}
where current.is_present
{% endif %}
