{{ config(unique_key='customer_id', meta={'row_exists': 'newest_order_id is not null'}) }}

with {% if is_incremental() %} changed as (
    select
        order_id,
        customer_id,
        _loaded_at
    from {{ ref('int_retail__sales_validated') }}
    where {{ is_new() }}
),

changes as (
    select
        customer_id,
        _loaded_at
    from changed
    union all
    -- The line may belong to another customer now. Only the oldest and the newest order of a customer matter.
    select
        previous.customer_id,
        changed._loaded_at
    from {{ this }} as previous
    inner join changed on previous.newest_order_id = changed.order_id
    union all
    select
        previous.customer_id,
        changed._loaded_at
    from {{ this }} as previous
    inner join changed on previous.oldest_order_id = changed.order_id
),

affected as (
    select
        customer_id,
        max(_loaded_at) as _loaded_at
    from changes
    where customer_id is not null
    group by customer_id
),
{% endif %}
sold as (
    select
        customer_id,
        max(ordered_at) as newest_ordered_at,
        min(ordered_at) as oldest_ordered_at
    from {{ ref('int_retail__sales_validated') }}
    where
        is_valid
        {% if is_incremental() %} and customer_id in (select customer_id from affected) {% endif %}
    group by customer_id
),

oldest as (
    select
        lines.customer_id,
        min(lines.order_id) as order_id
    from {{ ref('int_retail__sales_validated') }} as lines
    inner join sold on lines.customer_id = sold.customer_id and lines.ordered_at = sold.oldest_ordered_at
    where lines.is_valid
    group by lines.customer_id
),

newest as (
    select lines.*
    from {{ ref('int_retail__sales_validated') }} as lines
    inner join sold on lines.customer_id = sold.customer_id and lines.ordered_at = sold.newest_ordered_at
    where lines.is_valid
    qualify row_number() over (partition by lines.customer_id order by lines.order_id desc, lines.product_id desc) = 1
)

select
    newest.customer_id,
    newest.customer_name,
    newest.location_id,
    {{ location_name('newest.city') }} as city,
    {{ location_name('newest.province') }} as province,
    {{ location_name('newest.country') }} as country,
    sold.oldest_ordered_at::date as first_order_date,
    newest.order_date as last_order_date,
    oldest.order_id as oldest_order_id,
    newest.order_id as newest_order_id,
    {% if is_incremental() %}
    affected._loaded_at
    {% else %}
    (select max(_loaded_at) from {{ ref('int_retail__sales_validated') }}) as _loaded_at
    {% endif %}
from newest
inner join sold on newest.customer_id = sold.customer_id
inner join oldest on newest.customer_id = oldest.customer_id
{% if is_incremental() %}
inner join affected on newest.customer_id = affected.customer_id
union all by name
-- Without an order: their rows are removed.
select customer_id
from affected
anti join sold on affected.customer_id = sold.customer_id
{% endif %}
