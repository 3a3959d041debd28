{# None of the columns is empty: one scan for all of them, where `not_null` takes one each. #}
{% test not_null_columns(model, columns, newest_only=false) %}

select {{ columns | join(', ') }}
from {{ model }}
where ({{ columns | join(' is null or ') }} is null) and {{ newest(model, newest_only) }}

{% endtest %}
