{# Rows that are odd but counted: a warning, never a stop. #}
{% test odd_rows(model, flag) %}

{{ config(severity='warn') }}

select *
from {{ model }}
where {{ flag }}

{% endtest %}
