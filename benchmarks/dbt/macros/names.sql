{# Given and family name with one space between; one alone if the other is missing, '' without both. #}
{% macro full_name(first_name, last_name) -%}
    trim(trim(coalesce({{ first_name }}, ''), ' ') || ' ' || trim(coalesce({{ last_name }}, ''), ' '), ' ')
{%- endmacro %}
