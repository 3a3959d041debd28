{# On the newest day of writes at most this rate of the rows alive before was deleted. Small tables are not validated. #}
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
        count(*) filter (not is_deleted) as live_count,
        count(*) filter (is_deleted and updated_at >= newest_updated_at - interval 1 day) as newly_deleted_count
    from timed
)

select *
from counts
where
    newly_deleted_count > {{ max_rate }} * (live_count + newly_deleted_count)
    and live_count + newly_deleted_count >= {{ min_rows }}

{% endtest %}
