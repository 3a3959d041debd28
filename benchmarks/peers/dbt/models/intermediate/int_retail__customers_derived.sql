{{ config(materialized='table') }}

select
    customer_id,
    customer_name,
    location_id,
    city,
    province,
    country,
    min(order_date) over (partition by customer_id) as first_order_date,
    order_date as last_order_date
from {{ ref('int_retail__sales_priced') }}
where is_valid
qualify row_number() over (
    partition by customer_id
    order by ordered_at desc nulls first, order_id desc nulls first, product_id desc nulls first
) = 1
