{{ config(unique_key='order_id') }}

with staged as (
    from {{ ref('stg_retail__sales') }}
    {% if is_incremental() %}
    where order_id in (select order_id from {{ ref('stg_retail__sales') }} where {{ is_new() }})
    union all
    from {{ ref('stg_retail__sales') }} where order_id is null
    {% endif %}
),

-- Each spelling once. No key contains a tab, so no two locations have the same text.
locations as (
    select
        city,
        province,
        country,
        md5(
            coalesce(nullif({{ normalized('country') }}, ''), 'unknown') || chr(9)
            || coalesce(nullif({{ normalized('province') }}, ''), 'unknown') || chr(9)
            || coalesce(nullif({{ normalized('city') }}, ''), 'unknown')
        ) as location_id
    from (select distinct city, province, country from staged)
),

ranked as (
    select
        *,
        row_number() over (
            partition by order_id, product_id
            order by
                updated_at desc,
                _loaded_at desc nulls first,
                ordered_at desc nulls first,
                unit_price_amount desc nulls first,
                quantity desc nulls first,
                discount_rate,
                shipping_amount,
                customer_id,
                customer_name,
                product_name,
                product_category,
                city,
                province,
                country,
                purchased_at,
                deleted_at nulls first
        ) as recency_rank,
        max(_loaded_at) over (partition by order_id, product_id) as latest_loaded_at
    from staged
),

bounds as (
    {{ bounds('retail.sales', {
        'quantity': 'number',
        'unit_price_amount': 'number',
        'discount_rate': 'number',
        'shipping_amount': 'number',
        'total_revenue_amount': 'number',
        'ordered_at': 'date',
        'purchased_at': 'date',
    }) }}
),

validated as (
    select
        ranked.*,
        {{ reject_reasons({
            'missing_order_id': 'order_id is null',
            'missing_product_id': 'product_id is null',
            'duplicate_order_line': 'recency_rank > 1 and order_id is not null and product_id is not null',
            'missing_customer_id': 'customer_id is null',
            'missing_order_date': 'ordered_at is null',
            'order_date_out_of_range': 'order_date not between lowest_ordered_at and highest_ordered_at',
            'ordered_after_load': 'ordered_at > _loaded_at + interval 1 day',
            'purchase_date_out_of_range': 'purchased_at::date not between lowest_purchased_at and highest_purchased_at',
            'missing_quantity': 'quantity is null',
            'quantity_out_of_range': 'quantity not between lowest_quantity and highest_quantity',
            'missing_price': 'unit_price_amount is null',
            'price_out_of_range': 'unit_price_amount not between lowest_unit_price_amount and highest_unit_price_amount',
            'missing_discount': 'discount_rate is null',
            'discount_rate_out_of_range': 'discount_rate not between lowest_discount_rate and highest_discount_rate',
            'shipping_cost_out_of_range': 'shipping_amount not between lowest_shipping_amount and highest_shipping_amount',
            'amount_out_of_range':
                'quantity * unit_price_amount::decimal(19, 2)'
                ' not between lowest_total_revenue_amount and highest_total_revenue_amount',
        }) }} as reject_reasons,
        reject_reasons is null and deleted_at is null as is_valid
    from ranked
    cross join bounds
),

priced as (
    select
        *,
        {{ money('if(is_valid, quantity * unit_price_amount::decimal(19, 2), 0)') }} as total_revenue_amount,
        {{ money('if(is_valid, quantity * unit_discount_amount, 0)') }} as total_discount_amount
    from validated
)

select
    lines.order_id,
    lines.product_id,
    lines.recency_rank::int as recency_rank,
    lines.customer_id,
    lines.customer_name,
    lines.product_name,
    lines.product_category,
    lines.city,
    lines.province,
    lines.country,
    locations.location_id,
    lines.quantity,
    lines.unit_price_amount,
    lines.discount_rate,
    lines.total_revenue_amount,
    lines.total_discount_amount,
    (lines.total_revenue_amount - lines.total_discount_amount)::decimal(18, 2) as net_revenue_amount,
    lines.shipping_amount,
    coalesce(lines.is_valid and lines.unit_price_amount = 0, false) as is_free,
    lines.ordered_at,
    lines.purchased_at,
    lines.order_date,
    {% if is_incremental() %}
    if(
        previous._loaded_at = lines.latest_loaded_at,
        previous.previous_order_date,
        nullif(previous.order_date, lines.order_date)
    ) as previous_order_date,
    {% else %}
    null::date as previous_order_date,
    {% endif %}
    lines.deleted_at is not null as is_deleted,
    lines.reject_reasons,
    lines.is_valid,
    lines.updated_at,
    lines.latest_loaded_at as _loaded_at
from priced as lines
inner join locations
    on lines.city is not distinct from locations.city
    and lines.province is not distinct from locations.province
    and lines.country is not distinct from locations.country
{% if is_incremental() %}
left join (
    from {{ this }} where recency_rank = 1 and order_id in (select order_id from staged)
) as previous
    on lines.order_id = previous.order_id
    and lines.product_id = previous.product_id
    and lines.recency_rank = previous.recency_rank
{% endif %}
-- In the order of sale: rows of one load are stored together, and a day's or an order's rows are in few row groups.
order by lines.order_id, lines.product_id, lines.recency_rank
