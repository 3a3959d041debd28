with ranges as (
    select
        *,
        _loaded_at as valid_from,
        lead(_loaded_at) over (partition by customer_id order by _loaded_at) as valid_to
    from {{ ref('int_retail__customer_versions') }}
)

select
    customer_id::bigint as customer_id,
    customer_name::varchar as customer_name,
    location_id::varchar as location_id,
    city::varchar as city,
    province::varchar as province,
    country::varchar as country,
    valid_from::timestamp as valid_from,
    valid_to::timestamp as valid_to
from ranges
where is_present
