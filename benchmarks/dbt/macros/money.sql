{# A DECIMAL rounded to cents, half away from zero. Round each line once and add rounded lines. #}
{% macro money(amount) -%}
    round({{ amount }}, 2)::decimal(18, 2)
{%- endmacro %}
