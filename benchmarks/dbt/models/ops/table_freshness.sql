{% set tables = {
    'edtech.students': ref('stg_edtech__students'),
    'edtech.courses': ref('stg_edtech__courses'),
    'edtech.enrollments': ref('stg_edtech__enrollments'),
    'retail.sales': ref('stg_retail__sales'),
} %}

with loaded as (
    {% for source_table, staged in tables.items() %}
    select
        '{{ source_table }}' as source_table,
        count(*) as row_count,
        count(*) filter (deleted_at is null) as active_row_count,
        max(updated_at) as last_updated_at,
        max(_loaded_at) as last_loaded_at
    from {{ staged }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    source_table::varchar as source_table,
    row_count::int as row_count,
    active_row_count::int as active_row_count,
    last_updated_at::timestamp as last_updated_at,
    last_loaded_at::timestamp as last_loaded_at,
    date_diff('day', last_loaded_at::date, {{ as_of_date() }})::int as days_since_loaded
from loaded
