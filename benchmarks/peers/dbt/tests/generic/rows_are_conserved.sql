{#
    landed = accepted + quarantined: no row is lost or doubled between staging and the verdict. Key by key for the newest
    landing, the first of which is everything; of older keys as many rows have to stand here as there.
    Keys that landed again after the model was written are left to the next run.
#}
{% test rows_are_conserved(model, landed, key) %}
{%- set keys = key | join(', ') %}

with newest as (
    select coalesce(max(_landed_at), 'infinity'::timestamp) as landed_at from {{ model }}
),

suspects as (
    select {{ keys }}
    from (
        select {{ keys }}, 1 as difference from {{ landed }} where _landed_at >= (from newest)
        union all
        select {{ keys }}, -1 from {{ model }} where _landed_at >= (from newest)
    )
    group by all
    having sum(difference) <> 0
),

counted as (
    select
        {{ keys }},
        sum(landed_count) as landed_rows,
        sum(judged_count) as judged_rows,
        max(_landed_at) as landed_at
    from (
        select {{ keys }}, _landed_at, 1 as landed_count, 0 as judged_count from {{ landed }}
        union all
        select {{ keys }}, null, 0, 1 from {{ model }}
    ) as copies
    semi join suspects on
        {%- for column in key %}
        copies.{{ column }} is not distinct from suspects.{{ column }}{{ ' and' if not loop.last }}
        {%- endfor %}
    group by all
),

others as (
    select
        (select count(*) from {{ landed }}) - coalesce(sum(landed_rows), 0) as landed_rows,
        (select count(*) from {{ model }}) - coalesce(sum(judged_rows), 0) as judged_rows
    from counted
)

select landed_rows, judged_rows from counted
where landed_rows <> judged_rows and (landed_at is null or landed_at <= (from newest))
union all
select landed_rows, judged_rows from others
where landed_rows <> judged_rows

{% endtest %}
