{{ config(unique_key=['order_id', 'product_id']) }}

with lines as (
    select
        *,
        reject_reasons is null and not is_deleted as is_valid
    from {{ ref('int_retail__sales_validated') }}
    where
        order_id is not null
        and product_id is not null
        and recency_rank = 1
        {% if is_incremental() %}
        and _loaded_at > {{ newest_load() }}
        {% endif %}
),

priced as (
    select
        *,
        coalesce(nullif(trim(city, ' '), ''), 'Unknown') as known_city,
        coalesce(nullif(trim(province, ' '), ''), 'Unknown') as known_province,
        coalesce(nullif(trim(country, ' '), ''), 'Unknown') as known_country,
        {{ money('case when is_valid then quantity * unit_price_amount::decimal(19, 2) else 0 end') }} as total_revenue_amount,
        {{ money('case when is_valid then quantity * unit_discount_amount else 0 end') }} as total_discount_amount
    from lines
)

select
    order_id,
    product_id,
    customer_id,
    md5(known_country || '|' || known_province || '|' || known_city) as location_id,
    customer_name,
    product_name,
    product_category,
    known_city as city,
    known_province as province,
    known_country as country,
    quantity,
    unit_price_amount,
    discount_rate,
    unit_discount_amount,
    total_revenue_amount,
    total_discount_amount,
    (total_revenue_amount - total_discount_amount)::decimal(18, 2) as net_revenue_amount,
    (case when is_valid then coalesce(shipping_amount, 0) else 0 end)::decimal(18, 2) as shipping_amount,
    coalesce(is_valid and unit_price_amount = 0, false) as is_free,
    is_valid,
    ordered_at,
    purchased_at,
    order_date,
    updated_at,
    _loaded_at
from priced
