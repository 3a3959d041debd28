{# One row per key, as dbt_utils.unique_combination_of_columns. A NULL is a value like any other. #}
{% test unique_combination_of_columns(model, combination_of_columns, newest_only=false) %}

select
    {{ combination_of_columns | join(', ') }},
    count(*) as row_count
from {{ model }}
where {{ is_in_newest_load(model, newest_only) }}
group by all
having count(*) > 1

{% endtest %}
