{{ config(materialized='view', tags=['daily']) }}

{% set tables = {
    'edtech.students': ref('int_edtech__students_validated'),
    'edtech.courses': ref('int_edtech__courses_validated'),
    'edtech.enrollments': ref('int_edtech__enrollments_ranked'),
    'retail.sales': ref('int_retail__sales_validated'),
} %}

{% for source_table, stored in tables.items() %}
select
    '{{ source_table }}'::varchar as source_table,
    count(*)::int as row_count,
    count(*) filter (not is_deleted)::int as active_row_count,
    max(updated_at)::timestamp as last_updated_at,
    max(_loaded_at)::timestamp as last_loaded_at
from {{ stored }}
{{ 'union all' if not loop.last }}
{% endfor %}
