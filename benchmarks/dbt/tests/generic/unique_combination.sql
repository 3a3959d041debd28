{# One row per key. Unlike `unique` it takes several columns, and NULL for a value. #}
{% test unique_combination(model, columns, newest_only=false) %}

select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
where {{ newest(model, newest_only) }}
group by all
having count(*) > 1

{% endtest %}
