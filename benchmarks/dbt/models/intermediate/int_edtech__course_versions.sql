{{ config(incremental_strategy='append', full_refresh=false) }}

with current as (
    select
        course_id,
        course_name,
        instructor_name,
        credits,
        start_date,
        end_date,
        reject_reasons is null and not is_deleted as is_present,
        if(deleted_at > updated_at, deleted_at, updated_at) as updated_at,
        _loaded_at
    from {{ ref('int_edtech__courses_validated') }}
    where
        course_id is not null
        and recency_rank = 1
        {% if is_incremental() %} and {{ is_new() }} {% endif %}
    {% if is_incremental() %}
    union all
    -- A row that RAW has lost, and a full refresh with it.
    select distinct
        versions.course_id,
        null as course_name,
        null as instructor_name,
        null as credits,
        null as start_date,
        null as end_date,
        false as is_present,
        null as updated_at,
        (select max(_loaded_at) from {{ ref('int_edtech__courses_validated') }}) as _loaded_at
    from {{ this }} as versions
    anti join {{ ref('int_edtech__courses_validated') }} as courses on versions.course_id = courses.course_id
    {% endif %}
)

select
    current.course_id::bigint as course_id,
    if(current.is_present, current.course_name, null)::varchar as course_name,
    if(current.is_present, current.instructor_name, null)::varchar as instructor_name,
    if(current.is_present, current.credits, null)::int as credits,
    if(current.is_present, current.start_date, null)::date as start_date,
    if(current.is_present, current.end_date, null)::date as end_date,
    current.is_present,
    current.updated_at::timestamp as updated_at,
    {% if is_incremental() %}
    {{ version_loaded_at('current._loaded_at', 'latest._loaded_at') }} as _loaded_at
    {% else %}
    current._loaded_at::timestamp as _loaded_at
    {% endif %}
from current
{% if is_incremental() %}
left join ({{ latest_versions('course_id') }}) as latest on current.course_id = latest.course_id
where
    current.is_present <> coalesce(latest.is_present, false)
    or current.is_present
    and (current.course_name, current.instructor_name, current.credits, current.start_date, current.end_date)
        is distinct from (latest.course_name, latest.instructor_name, latest.credits, latest.start_date, latest.end_date)
{% else %}
where current.is_present
{% endif %}
