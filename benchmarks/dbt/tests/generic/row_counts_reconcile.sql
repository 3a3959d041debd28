{#
    loaded = accepted + rejected: validation neither loses nor duplicates a row of staging, the table to compare against.
    Keys of the newest load are compared one by one; the first load is all rows. Of the other keys only the total is
    compared. Keys loaded again after the model was written are left to the next build.
#}
{% test row_counts_reconcile(model, against, key) %}
{%- set keys = key | join(', ') %}

with newest as (
    select coalesce(max(_loaded_at), 'infinity'::timestamp) as loaded_at from {{ model }}
),

mismatched_keys as (
    select {{ keys }}
    from (
        select {{ keys }}, 1 as difference from {{ against }} where _loaded_at >= (from newest)
        union all
        select {{ keys }}, -1 from {{ model }} where _loaded_at >= (from newest)
    )
    group by all
    having sum(difference) <> 0
),

key_counts as (
    select
        {{ keys }},
        sum(loaded_count) as loaded_count,
        sum(validated_count) as validated_count,
        max(_loaded_at) as last_loaded_at
    from (
        select {{ keys }}, _loaded_at, 1 as loaded_count, 0 as validated_count from {{ against }}
        union all
        select {{ keys }}, null, 0, 1 from {{ model }}
    ) as all_rows
    semi join mismatched_keys on
        {%- for column in key %}
        all_rows.{{ column }} is not distinct from mismatched_keys.{{ column }}{{ ' and' if not loop.last }}
        {%- endfor %}
    group by all
),

other_counts as (
    select
        (select count(*) from {{ against }}) - coalesce(sum(loaded_count), 0) as loaded_count,
        (select count(*) from {{ model }}) - coalesce(sum(validated_count), 0) as validated_count
    from key_counts
)

select loaded_count, validated_count from key_counts
where loaded_count <> validated_count and (last_loaded_at is null or last_loaded_at <= (from newest))
union all
select loaded_count, validated_count from other_counts
where loaded_count <> validated_count

{% endtest %}
