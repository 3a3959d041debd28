{# Reasons whose conditions are true, as 'reason_a, reason_b'; NULL for an accepted row. NULL is not true. #}
{% macro reject_reasons(conditions) -%}
    nullif(concat_ws(', ',
        {%- for reason, condition in conditions.items() %}
        case when {{ condition }} then '{{ reason }}' end{{ ',' if not loop.last }}
        {%- endfor %}
    ), '')
{%- endmacro %}
