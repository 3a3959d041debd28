select
    days.location_id::varchar as location_id,
    locations.city::varchar as city,
    locations.province::varchar as province,
    locations.country::varchar as country,
    locations.region::varchar as region,
    sum(days.order_count)::int as order_count,
    sum(days.line_count)::int as line_count,
    sum(days.total_revenue_amount)::decimal(18, 2) as total_revenue_amount,
    sum(days.total_discount_amount)::decimal(18, 2) as total_discount_amount,
    sum(days.net_revenue_amount)::decimal(18, 2) as net_revenue_amount,
    sum(days.shipping_amount)::decimal(18, 2) as shipping_amount
from {{ ref('rpt_revenue_daily') }} as days
left join {{ ref('dim_location') }} as locations on days.location_id = locations.location_id
group by all
