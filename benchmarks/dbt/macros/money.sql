{# A DECIMAL in whole cents, half a cent away from zero. Round each line once and add rounded lines. #}
{% macro money(amount) -%}
    round({{ amount }}, 2)::decimal(18, 2)
{%- endmacro %}
