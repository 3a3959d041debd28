select
    order_id,
    product_id,
    recency_rank,
    customer_id,
    customer_name,
    product_name,
    product_category,
    city,
    province,
    country,
    quantity,
    unit_price_amount,
    discount_rate,
    shipping_amount,
    ordered_at,
    purchased_at,
    reject_reasons,
    is_deleted,
    updated_at,
    _loaded_at
from {{ ref('int_retail__sales_validated') }}
where reject_reasons is not null
