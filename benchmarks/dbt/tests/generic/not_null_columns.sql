{# No column contains NULL. One scan for several columns, where `not_null` takes one for each. #}
{% test not_null_columns(model, columns) %}

select {{ columns | join(', ') }}
from {{ model }}
where {{ columns | join(' is null or ') }} is null

{% endtest %}
