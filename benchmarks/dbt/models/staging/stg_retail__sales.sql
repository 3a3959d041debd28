select
    order_id::bigint as order_id,
    product_id::bigint as product_id,
    customer_id::bigint as customer_id,
    cust_name::varchar as customer_name,
    product::varchar as product_name,
    product_category::varchar as product_category,
    city::varchar as city,
    province::varchar as province,
    country::varchar as country,
    quantity::int as quantity,
    -- Before a multiplication it is cast to decimal(19, 2): DuckDB multiplies 18 digits in 64 bits and may overflow.
    price::decimal(18, 2) as unit_price_amount,
    discount::decimal(9, 4) as discount_rate,
    -- Money per unit, because a quantity times a rate is not money; exact, rounded only on the line.
    (price::decimal(19, 2) * discount::decimal(9, 4))::decimal(28, 6) as unit_discount_amount,
    shipping_cost::decimal(18, 2) as shipping_amount,
    order_date_at::timestamp as ordered_at,
    purchased_at::timestamp as purchased_at,
    order_date_at::date as order_date,
    updated_at::timestamp as updated_at,
    coalesce(deleted_at, _deleted_at)::timestamp as deleted_at,
    _loaded_at::timestamp as _loaded_at
from {{ source('retail', 'sales') }}
