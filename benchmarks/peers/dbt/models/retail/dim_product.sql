select
    product_id::bigint as product_id,
    product_name::varchar as product_name,
    product_category::varchar as product_category,
    unit_price_amount::decimal(18, 2) as latest_unit_price_amount,
    min(order_date) over (partition by product_id) as first_order_date,
    order_date::date as last_order_date
from {{ ref('int_retail__sales_priced') }}
where is_valid
qualify row_number() over (
    partition by product_id
    order by ordered_at desc nulls first, order_id desc nulls first
) = 1
