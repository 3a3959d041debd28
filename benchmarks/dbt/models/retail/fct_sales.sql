select
    order_id::bigint as order_id,
    product_id::bigint as product_id,
    customer_id::bigint as customer_id,
    location_id::varchar as location_id,
    order_date::date as order_date,
    ordered_at::timestamp as ordered_at,
    purchased_at::timestamp as purchased_at,
    quantity::int as quantity,
    unit_price_amount::decimal(18, 2) as unit_price_amount,
    discount_rate::decimal(9, 4) as discount_rate,
    total_revenue_amount::decimal(18, 2) as total_revenue_amount,
    total_discount_amount::decimal(18, 2) as total_discount_amount,
    net_revenue_amount::decimal(18, 2) as net_revenue_amount,
    coalesce(shipping_amount, 0)::decimal(18, 2) as shipping_amount,
    is_free::boolean as is_free,
    updated_at::timestamp as updated_at,
    _loaded_at::timestamp as _loaded_at
from {{ ref('int_retail__sales_validated') }}
where is_valid
