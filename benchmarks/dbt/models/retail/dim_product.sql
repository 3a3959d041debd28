with sold as (
    select
        product_id,
        max(ordered_at) as last_ordered_at,
        min(order_date) as first_order_date
    from {{ ref('int_retail__sales_validated') }}
    where is_valid
    group by all
)

select
    lines.product_id::bigint as product_id,
    lines.product_name::varchar as product_name,
    lines.product_category::varchar as product_category,
    lines.unit_price_amount::decimal(18, 2) as latest_unit_price_amount,
    sold.first_order_date::date as first_order_date,
    lines.order_date::date as last_order_date
from {{ ref('int_retail__sales_validated') }} as lines
inner join sold on lines.product_id = sold.product_id and lines.ordered_at = sold.last_ordered_at
where lines.is_valid
qualify row_number() over (partition by lines.product_id order by lines.order_id desc) = 1
