{#
    landed = accepted + quarantined, key by key: no row is lost or doubled between staging and the verdict.
    Keys that landed again after the model was written are left to the next run.
#}
{% test rows_are_conserved(model, landed, key) %}

with counted as (
    select
        {{ key | join(', ') }},
        _landed_at,
        1 as landed_count,
        0 as accepted_count,
        0 as quarantined_count
    from {{ landed }}
    union all
    select
        {{ key | join(', ') }},
        null as _landed_at,
        0 as landed_count,
        (reject_reasons is null)::int as accepted_count,
        (reject_reasons is not null)::int as quarantined_count
    from {{ model }}
)

select
    {{ key | join(', ') }},
    sum(landed_count) as landed_rows,
    sum(accepted_count) as accepted_rows,
    sum(quarantined_count) as quarantined_rows
from counted
group by all
having
    sum(landed_count) <> sum(accepted_count) + sum(quarantined_count)
    and (
        max(_landed_at) is null
        or max(_landed_at) <= (select coalesce(max(_landed_at), 'infinity'::timestamp) from {{ model }})
    )

{% endtest %}
