{# Reasons whose conditions are true, as 'reason_a, reason_b'; NULL for an accepted row. NULL is not true. #}
{% macro reject_reasons(conditions) -%}
    nullif(concat_ws(', ',
        {%- for reason, condition in conditions.items() %}
        case when {{ condition }} then '{{ reason }}' end{{ ',' if not loop.last }}
        {%- endfor %}
    ), '')
{%- endmacro %}

{# One row with the bounds of columns of a loaded table, as lowest_<column> and highest_<column>; types by column. #}
{% macro bounds(source_table, columns) -%}
    select
        {%- for column, type in columns.items() %}
        max(lowest_{{ type }}) filter (column_name = '{{ column }}') as lowest_{{ column }},
        max(highest_{{ type }}) filter (column_name = '{{ column }}') as highest_{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('ref_bound') }}
    where source_table = '{{ source_table }}'
{%- endmacro %}
