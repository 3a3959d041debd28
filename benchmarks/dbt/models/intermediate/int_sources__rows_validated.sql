{{ config(materialized='view', tags=['daily']) }}

{% set tables = {
    'edtech.students': ref('int_edtech__students_validated'),
    'edtech.courses': ref('int_edtech__courses_validated'),
    'edtech.enrollments': ref('int_edtech__enrollments_validated'),
    'retail.sales': ref('int_retail__sales_validated'),
} %}

{% for source_table, validated in tables.items() %}
select
    '{{ source_table }}'::varchar as source_table,
    updated_at::timestamp as updated_at,
    is_deleted::boolean as is_deleted,
    reject_reasons::varchar as reject_reasons
from {{ validated }}
{{ 'union all' if not loop.last }}
{% endfor %}
