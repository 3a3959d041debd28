{{ config(materialized='view', tags=['daily']) }}

{% set tables = {
    'edtech.students': ref('stg_edtech__students'),
    'edtech.courses': ref('stg_edtech__courses'),
    'edtech.enrollments': ref('stg_edtech__enrollments'),
    'retail.sales': ref('stg_retail__sales'),
} %}

{% for source_table, staged in tables.items() %}
select
    '{{ source_table }}'::varchar as source_table,
    updated_at::timestamp as updated_at,
    true as is_validated
from {{ staged }}
{{ 'union all' if not loop.last }}
{% endfor %}
