{# The expression is true, or NULL, on every row: as dbt_utils.expression_is_true. #}
{% test expression_is_true(model, expression, newest_only=false) %}

select *
from {{ model }}
where not ({{ expression }}) and {{ is_in_newest_load(model, newest_only) }}

{% endtest %}
