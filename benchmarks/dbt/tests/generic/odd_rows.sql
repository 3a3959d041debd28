{# Rows that are odd but counted: a warning, never a stop. #}
{% test odd_rows(model, flag, newest_only=false) %}

{{ config(severity='warn') }}

select *
from {{ model }}
where {{ flag }} and {{ newest(model, newest_only) }}

{% endtest %}
