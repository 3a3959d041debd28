{{ config(materialized='table') }}

with sold as (
    select
        customer_id,
        max(ordered_at) as last_ordered_at,
        min(order_date) as first_order_date
    from {{ ref('int_retail__sales_priced') }}
    where is_valid
    group by all
)

select
    lines.customer_id,
    lines.customer_name,
    lines.location_id,
    lines.city,
    lines.province,
    lines.country,
    sold.first_order_date,
    lines.order_date as last_order_date
from {{ ref('int_retail__sales_priced') }} as lines
inner join sold on lines.customer_id = sold.customer_id and lines.ordered_at = sold.last_ordered_at
where lines.is_valid
qualify row_number() over (partition by lines.customer_id order by lines.order_id desc, lines.product_id desc) = 1
