{{ config(unique_key='coalesce(order_id, -1), coalesce(product_id, -1), recency_rank') }}

with {% if is_incremental() %} affected as (
    select order_id from {{ ref('stg_retail__sales') }} where _loaded_at > {{ newest_load() }}
),

-- All rows of a loaded order, because recency_rank changes in the older ones too. Lines without an order every time.
loaded as (
    from {{ ref('stg_retail__sales') }} where order_id in (from affected)
    union all
    from {{ ref('stg_retail__sales') }} where order_id is null
),

-- A rejected line may correct its date. A line whose date has moved since it was accepted fails the test until the date
-- is set back.
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
ranked as (
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
        max(sales._loaded_at) over (partition by sales.order_id, sales.product_id) as latest_loaded_at
    from loaded as sales
)

select
    ranked.order_id,
    ranked.product_id,
    ranked.recency_rank::int as recency_rank,
    ranked.customer_id,
    ranked.customer_name,
    ranked.product_name,
    ranked.product_category,
    ranked.city,
    ranked.province,
    ranked.country,
    ranked.quantity,
    ranked.unit_price_amount,
    ranked.discount_rate,
    ranked.unit_discount_amount,
    ranked.shipping_amount,
    ranked.ordered_at,
    ranked.purchased_at,
    ranked.order_date,
    {% if is_incremental() %}
    coalesce(previous.first_order_date, ranked.order_date) as first_order_date,
    {% else %}
    ranked.order_date as first_order_date,
    {% endif %}
    ranked.deleted_at is not null as is_deleted,
    {{ reject_reasons({
        'missing_order_id': 'ranked.order_id is null',
        'missing_product_id': 'ranked.product_id is null',
        'duplicate_order_line':
            'ranked.recency_rank > 1 and ranked.order_id is not null and ranked.product_id is not null',
        'missing_customer_id': 'ranked.customer_id is null',
        'missing_order_date': 'ranked.ordered_at is null',
        'ordered_after_load': 'ranked.ordered_at > ranked._loaded_at + interval 1 day',
        'missing_quantity': 'ranked.quantity is null',
        'quantity_not_positive': 'ranked.quantity <= 0',
        'missing_price': 'ranked.unit_price_amount is null',
        'negative_price': 'ranked.unit_price_amount < 0',
        'missing_discount': 'ranked.discount_rate is null',
        'discount_rate_out_of_range': 'ranked.discount_rate not between 0 and 1',
        'negative_shipping_cost': 'ranked.shipping_amount < 0',
        'amount_out_of_range': 'abs(ranked.quantity * ranked.unit_price_amount::decimal(19, 2)) >= 1000000000',
    }) }} as reject_reasons,
    ranked.updated_at,
    ranked.latest_loaded_at as _loaded_at
from ranked
{% if is_incremental() %}
left join previous on ranked.order_id = previous.order_id and ranked.product_id = previous.product_id
{% endif %}
-- In the order of sale: rows of one load are stored together, and a merge or a day reads only a part of the table.
order by ranked.order_id, ranked.product_id, ranked.recency_rank
