{# No column contains NULL. One scan for several columns, where `not_null` takes one for each. #}
{% test not_null_columns(model, columns, newest_only=false) %}

select {{ columns | join(', ') }}
from {{ model }}
where ({{ columns | join(' is null or ') }} is null) and {{ is_in_newest_load(model, newest_only) }}

{% endtest %}
