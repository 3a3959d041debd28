{% set tables = {
    'edtech.students': ref('int_edtech__students_validated'),
    'edtech.courses': ref('int_edtech__courses_validated'),
    'edtech.enrollments': ref('int_edtech__enrollments_ranked'),
    'retail.sales': ref('int_retail__sales_validated'),
} %}

with loaded as (
    {% for source_table, table in tables.items() %}
    select
        '{{ source_table }}' as source_table,
        count(*) as row_count,
        count(*) filter (not is_deleted) as active_row_count,
        max(updated_at) as last_updated_at,
        max(_loaded_at) as last_loaded_at
    from {{ table }}
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
