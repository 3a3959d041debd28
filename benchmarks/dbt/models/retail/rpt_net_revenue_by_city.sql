select
    sales.location_id::varchar as location_id,
    locations.city::varchar as city,
    locations.province::varchar as province,
    locations.country::varchar as country,
    locations.region::varchar as region,
    count(distinct sales.order_id)::int as order_count,
    count(*)::int as line_count,
    sum(sales.total_revenue_amount)::decimal(18, 2) as total_revenue_amount,
    sum(sales.total_discount_amount)::decimal(18, 2) as total_discount_amount,
    sum(sales.net_revenue_amount)::decimal(18, 2) as net_revenue_amount,
    sum(sales.shipping_amount)::decimal(18, 2) as shipping_amount
from {{ ref('fct_sales') }} as sales
left join {{ ref('dim_location') }} as locations on sales.location_id = locations.location_id
group by sales.location_id, locations.city, locations.province, locations.country, locations.region
