{# The column still holds the value it had when the row was first seen. #}
{% test never_changes(model, column_name, first_value) %}

select *
from {{ model }}
where {{ first_value }} is not null and {{ column_name }} is distinct from {{ first_value }}

{% endtest %}
