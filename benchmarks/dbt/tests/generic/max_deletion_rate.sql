{#
    Of the rows that were active, at most max_rate have arrived as soft-deleted in the last seven days of loads. A table
    with fewer than min_rows such rows passes. Where most active rows have arrived in these days, in a first or a full load,
    the row's own times count instead of its arrival.
#}
{% test max_deletion_rate(model, max_rate, min_rows=100) %}

with loads as (
    select
        count(*) filter (deleted_at is null) as active_count,
        count(*) filter (deleted_at is null and _loaded_at >= first_loaded_at) as newly_loaded_count,
        count(*) filter (deleted_at is not null and _loaded_at >= first_loaded_at) as newly_loaded_deleted_count,
        count(*) filter (
            deleted_at is not null
            and _loaded_at >= first_loaded_at
            and (deleted_at >= first_loaded_at or updated_at >= first_loaded_at)
        ) as recently_deleted_count
    from {{ model }}
    cross join (select max(_loaded_at) - interval 7 day as first_loaded_at from {{ model }}) as newest
),

counts as (
    select
        active_count,
        if(2 * newly_loaded_count > active_count, recently_deleted_count, newly_loaded_deleted_count)
            as newly_deleted_count
    from loads
)

select *
from counts
where
    newly_deleted_count > {{ max_rate }} * (active_count + newly_deleted_count)
    and active_count + newly_deleted_count >= {{ min_rows }}

{% endtest %}
