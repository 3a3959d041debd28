{# The column still holds the value it had when the row was first seen. #}
{% test never_changes(model, column_name, first_value, newest_only=false) %}

select *
from {{ model }}
where {{ first_value }} is not null and {{ column_name }} is distinct from {{ first_value }}
    and {{ newest(model, newest_only) }}

{% endtest %}
