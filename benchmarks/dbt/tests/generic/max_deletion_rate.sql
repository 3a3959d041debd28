{#
    On the newest day of writes, at most max_rate of the rows active before it were soft-deleted. A table with fewer
    than min_rows such rows passes.
#}
{% test max_deletion_rate(model, max_rate, min_rows=100) %}

with timed as (
    select
        is_deleted,
        updated_at,
        max(updated_at) over () as newest_updated_at
    from {{ model }}
),

counts as (
    select
        count(*) filter (not is_deleted) as active_count,
        count(*) filter (is_deleted and updated_at >= newest_updated_at - interval 1 day) as newly_deleted_count
    from timed
)

select *
from counts
where
    newly_deleted_count > {{ max_rate }} * (active_count + newly_deleted_count)
    and active_count + newly_deleted_count >= {{ min_rows }}

{% endtest %}
