{{ config(unique_key='coalesce(order_id, -1), coalesce(product_id, -1), recency_rank') }}

with {% if is_incremental() %} affected as (
    select order_id from {{ ref('stg_retail__sales') }} where _loaded_at > {{ newest_load() }}
),

-- All copies of a key that loaded, or the older ones would keep their numbers; lines without an order every time.
loaded as (
    from {{ ref('stg_retail__sales') }} where order_id in (from affected)
    union all
    from {{ ref('stg_retail__sales') }} where order_id is null
),

-- A rejected line may correct its date; one whose date moved since it was accepted keeps failing until it is set back.
previous as (
    select
        lines.order_id,
        lines.product_id,
        if(
            lines.reject_reasons is null or lines.order_date is distinct from lines.first_order_date,
            lines.first_order_date,
            null
        ) as first_order_date
    from {{ this }} as lines
    where lines.order_id in (from affected) and lines.recency_rank = 1
),
{% else %} loaded as (
    from {{ ref('stg_retail__sales') }}
),
{% endif %}
numbered as (
    select
        sales.*,
        row_number() over (
            partition by sales.order_id, sales.product_id
            order by
                sales.updated_at desc,
                sales._loaded_at desc nulls first,
                sales.ordered_at desc nulls first,
                sales.unit_price_amount desc nulls first,
                sales.quantity desc nulls first,
                sales.discount_rate,
                sales.shipping_amount,
                sales.customer_id,
                sales.customer_name,
                sales.product_name,
                sales.product_category,
                sales.city,
                sales.province,
                sales.country,
                sales.purchased_at,
                sales.deleted_at nulls first
        ) as recency_rank,
        max(sales._loaded_at) over (partition by sales.order_id, sales.product_id) as key_loaded_at
    from loaded as sales
)

select
    numbered.order_id,
    numbered.product_id,
    numbered.recency_rank::int as recency_rank,
    numbered.customer_id,
    numbered.customer_name,
    numbered.product_name,
    numbered.product_category,
    numbered.city,
    numbered.province,
    numbered.country,
    numbered.quantity,
    numbered.unit_price_amount,
    numbered.discount_rate,
    numbered.unit_discount_amount,
    numbered.shipping_amount,
    numbered.ordered_at,
    numbered.purchased_at,
    numbered.order_date,
    {% if is_incremental() %}
    coalesce(previous.first_order_date, numbered.order_date) as first_order_date,
    {% else %}
    numbered.order_date as first_order_date,
    {% endif %}
    numbered.deleted_at is not null as is_deleted,
    {{ reject_reasons({
        'missing_order_id': 'numbered.order_id is null',
        'missing_product_id': 'numbered.product_id is null',
        'duplicate_order_line':
            'numbered.recency_rank > 1 and numbered.order_id is not null and numbered.product_id is not null',
        'missing_customer_id': 'numbered.customer_id is null',
        'missing_order_date': 'numbered.ordered_at is null',
        'ordered_after_load': 'numbered.ordered_at > numbered._loaded_at + interval 1 day',
        'missing_quantity': 'numbered.quantity is null',
        'quantity_not_positive': 'numbered.quantity <= 0',
        'missing_price': 'numbered.unit_price_amount is null',
        'negative_price': 'numbered.unit_price_amount < 0',
        'missing_discount': 'numbered.discount_rate is null',
        'discount_rate_out_of_range': 'numbered.discount_rate not between 0 and 1',
        'negative_shipping_cost': 'numbered.shipping_amount < 0',
        'amount_out_of_range': 'abs(numbered.quantity * numbered.unit_price_amount::decimal(19, 2)) >= 1000000000',
    }) }} as reject_reasons,
    numbered.updated_at,
    numbered.key_loaded_at as _loaded_at
from numbered
{% if is_incremental() %}
left join previous on numbered.order_id = previous.order_id and numbered.product_id = previous.product_id
{% endif %}
-- As they were sold: what loads together then stands together, and an increment or a day reads a part of the table.
order by numbered.order_id, numbered.product_id, numbered.recency_rank
