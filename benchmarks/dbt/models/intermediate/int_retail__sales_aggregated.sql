{{ config(unique_key=['order_date', 'location_id']) }}

with affected as (
    select
        order_date,
        max(_loaded_at) as _loaded_at
    from {{ ref('int_retail__sales_priced') }}
    {% if is_incremental() %}
    where _loaded_at > {{ newest_load() }}
    {% endif %}
    group by order_date
),

aggregated as (
    select
        lines.order_date,
        lines.location_id,
        count(distinct lines.order_id) as order_count,
        count(*) as line_count,
        sum(lines.quantity) as quantity,
        sum(lines.total_revenue_amount) as total_revenue_amount,
        sum(lines.total_discount_amount) as total_discount_amount,
        sum(lines.net_revenue_amount) as net_revenue_amount,
        sum(lines.shipping_amount) as shipping_amount,
        affected._loaded_at
    from {{ ref('int_retail__sales_priced') }} as lines
    inner join affected on lines.order_date = affected.order_date
    where lines.is_valid
    group by lines.order_date, lines.location_id, affected._loaded_at
),

recomputed as (
    select * from aggregated
    {% if is_incremental() %}
    union all
    -- If the last line of a day and location was cancelled, rejected or moved, no new row replaces the previous one.
    select
        previous.order_date,
        previous.location_id,
        0 as order_count,
        0 as line_count,
        0 as quantity,
        0 as total_revenue_amount,
        0 as total_discount_amount,
        0 as net_revenue_amount,
        0 as shipping_amount,
        affected._loaded_at
    from {{ this }} as previous
    inner join affected on previous.order_date = affected.order_date
    anti join aggregated
        on previous.order_date = aggregated.order_date and previous.location_id = aggregated.location_id
    {% endif %}
)

select
    order_date,
    location_id,
    order_count::int as order_count,
    line_count::int as line_count,
    quantity::bigint as quantity,
    total_revenue_amount::decimal(18, 2) as total_revenue_amount,
    total_discount_amount::decimal(18, 2) as total_discount_amount,
    net_revenue_amount::decimal(18, 2) as net_revenue_amount,
    shipping_amount::decimal(18, 2) as shipping_amount,
    -- Newest load of the day: the next build aggregates days with newer loads.
    _loaded_at
from recomputed
