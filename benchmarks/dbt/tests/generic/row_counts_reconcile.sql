{#
    loaded = accepted + quarantined: no row is lost or doubled between staging and the validation. Key by key for the newest
    loading, the first of which is everything; of older keys as many rows have to stand here as there.
    Keys that loaded again after the model was written are left to the next run.
#}
{% test row_counts_reconcile(model, loaded, key) %}
{%- set keys = key | join(', ') %}

with newest as (
    select coalesce(max(_loaded_at), 'infinity'::timestamp) as loaded_at from {{ model }}
),

suspects as (
    select {{ keys }}
    from (
        select {{ keys }}, 1 as difference from {{ loaded }} where _loaded_at >= (from newest)
        union all
        select {{ keys }}, -1 from {{ model }} where _loaded_at >= (from newest)
    )
    group by all
    having sum(difference) <> 0
),

counted as (
    select
        {{ keys }},
        sum(loaded_count) as loaded_rows,
        sum(validated_count) as validated_rows,
        max(_loaded_at) as loaded_at
    from (
        select {{ keys }}, _loaded_at, 1 as loaded_count, 0 as validated_count from {{ loaded }}
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
        (select count(*) from {{ loaded }}) - coalesce(sum(loaded_rows), 0) as loaded_rows,
        (select count(*) from {{ model }}) - coalesce(sum(validated_rows), 0) as validated_rows
    from counted
)

select loaded_rows, validated_rows from counted
where loaded_rows <> validated_rows and (loaded_at is null or loaded_at <= (from newest))
union all
select loaded_rows, validated_rows from others
where loaded_rows <> validated_rows

{% endtest %}
