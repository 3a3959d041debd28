{# A count for each month, and their total. Rows without a date are not counted. #}
{% macro month_pivot(date, noun) -%}
    {%- set months = [
        'january', 'february', 'march', 'april', 'may', 'june',
        'july', 'august', 'september', 'october', 'november', 'december',
    ] -%}
    {%- for month in months -%}
    count(*) filter (month({{ date }}) = {{ loop.index }})::int as {{ month }}_{{ noun }}_count,
    {% endfor -%}
    count({{ date }})::int as total_{{ noun }}_count
{%- endmacro %}
