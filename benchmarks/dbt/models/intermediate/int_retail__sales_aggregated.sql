{{ config(unique_key='order_date', meta={'row_exists': 'line_count > 0'}) }}

{% if is_incremental() %}
-- Days whose lines are not those that they were computed from: a day that a line has left, and the one it has moved to.
with lines as (
    select
        order_date,
        count(*) as line_count,
        max(_loaded_at) as _loaded_at
    from {{ ref('int_retail__sales_validated') }}
    where is_valid
    group by order_date
),

computed as (
    select
        order_date,
        sum(line_count) as line_count,
        max(_loaded_at) as _loaded_at
    from {{ this }}
    group by order_date
),

days as (
    select coalesce(lines.order_date, computed.order_date) as order_date
    from lines
    full join computed on lines.order_date = computed.order_date
    where
        lines.line_count is distinct from computed.line_count
        or lines._loaded_at is distinct from computed._loaded_at
)
{% else %}
with days as (
    select distinct order_date
    from {{ ref('int_retail__sales_validated') }}
    where is_valid
)
{% endif %}

select
    days.order_date,
    sales.location_id,
    {{ location_name("max(trim(sales.city, ' '))") }} as city,
    {{ location_name("max(trim(sales.province, ' '))") }} as province,
    {{ location_name("max(trim(sales.country, ' '))") }} as country,
    count(distinct sales.order_id)::int as order_count,
    count(sales.order_id)::int as line_count,
    coalesce(sum(sales.quantity), 0)::bigint as quantity,
    coalesce(sum(sales.total_revenue_amount), 0)::decimal(18, 2) as total_revenue_amount,
    coalesce(sum(sales.total_discount_amount), 0)::decimal(18, 2) as total_discount_amount,
    coalesce(sum(sales.net_revenue_amount), 0)::decimal(18, 2) as net_revenue_amount,
    coalesce(sum(sales.shipping_amount), 0)::decimal(18, 2) as shipping_amount,
    max(sales._loaded_at) as _loaded_at
from days
-- A day without a sale is one row without lines, so that its rows are removed.
left join {{ ref('int_retail__sales_validated') }} as sales on days.order_date = sales.order_date and sales.is_valid
group by days.order_date, sales.location_id
