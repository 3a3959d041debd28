{# First and last name with a space between; one alone if the other is missing, '' if both are. #}
{% macro full_name(first_name, last_name) -%}
    trim(trim(coalesce({{ first_name }}, ''), ' ') || ' ' || trim(coalesce({{ last_name }}, ''), ' '), ' ')
{%- endmacro %}
