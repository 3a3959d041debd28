{# Every reason whose condition holds, as 'reason_a, reason_b'; NULL for a row without fault. NULL doesn't hold. #}
{% macro reject_reasons(conditions) -%}
    nullif(concat_ws(', ',
        {%- for reason, condition in conditions.items() %}
        case when {{ condition }} then '{{ reason }}' end{{ ',' if not loop.last }}
        {%- endfor %}
    ), '')
{%- endmacro %}
