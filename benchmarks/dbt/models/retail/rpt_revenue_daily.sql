select
    order_date::date as order_date,
    location_id::varchar as location_id,
    order_count::int as order_count,
    line_count::int as line_count,
    quantity::bigint as quantity,
    total_revenue_amount::decimal(18, 2) as total_revenue_amount,
    total_discount_amount::decimal(18, 2) as total_discount_amount,
    net_revenue_amount::decimal(18, 2) as net_revenue_amount,
    shipping_amount::decimal(18, 2) as shipping_amount
from {{ ref('int_retail__sales_aggregated') }}
