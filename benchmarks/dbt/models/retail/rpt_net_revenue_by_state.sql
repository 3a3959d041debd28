select
    country::varchar as country,
    province::varchar as province,
    region::varchar as region,
    sum(order_count)::int as order_count,
    sum(line_count)::int as line_count,
    sum(total_revenue_amount)::decimal(18, 2) as total_revenue_amount,
    sum(total_discount_amount)::decimal(18, 2) as total_discount_amount,
    sum(net_revenue_amount)::decimal(18, 2) as net_revenue_amount,
    sum(shipping_amount)::decimal(18, 2) as shipping_amount
from {{ ref('rpt_net_revenue_by_city') }}
group by all
