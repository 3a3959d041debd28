{# Versions of a key do not overlap, none ends before it begins, and only the last one may be current. #}
{% test scd2_no_overlaps(model, key) %}

with versions as (
    select
        {{ key }},
        valid_from,
        valid_to,
        lead(valid_from) over (partition by {{ key }} order by valid_from, valid_to) as next_valid_from,
        count(*) filter (valid_to is null) over (partition by {{ key }}) as current_count
    from {{ model }}
)

select *
from versions
where
    valid_to < valid_from
    or current_count > 1
    or coalesce(valid_to, 'infinity'::timestamp) > next_valid_from

{% endtest %}
