select
    customer_id::bigint as customer_id,
    customer_name::varchar as customer_name,
    location_id::varchar as location_id,
    city::varchar as city,
    province::varchar as province,
    country::varchar as country,
    first_order_date::date as first_order_date,
    last_order_date::date as last_order_date
from {{ ref('int_retail__customers_derived') }}
