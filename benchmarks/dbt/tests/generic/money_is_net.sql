{# gross - discount = net on every row, to the cent, and the discount is not more than the gross. #}
{% test money_is_net(model, gross, discount, net, newest_only=false) %}

select *
from {{ model }}
where
    (
        {{ net }} is null
        or {{ gross }} - {{ discount }} is distinct from {{ net }}
        or {{ discount }} > {{ gross }}
    )
    and {{ newest(model, newest_only) }}

{% endtest %}
