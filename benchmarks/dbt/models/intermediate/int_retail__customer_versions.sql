{{ config(incremental_strategy='append', full_refresh=false) }}

-- dbt can't see a ref in an if-block: depends_on: {{ ref('int_retail__sales_validated') }}

with current as (
    select
        customer_id,
        customer_name,
        location_id,
        city,
        province,
        country,
        true as is_present,
        _loaded_at
    from {{ ref('int_retail__customers_derived') }}
    {% if is_incremental() %}
    where {{ is_new() }}
    union all
    -- Without a valid order line.
    select distinct
        versions.customer_id,
        null as customer_name,
        null as location_id,
        null as city,
        null as province,
        null as country,
        false as is_present,
        (select max(_loaded_at) from {{ ref('int_retail__sales_validated') }}) as _loaded_at
    from {{ this }} as versions
    anti join {{ ref('int_retail__customers_derived') }} as customers on versions.customer_id = customers.customer_id
    {% endif %}
)

select
    current.customer_id::bigint as customer_id,
    current.customer_name::varchar as customer_name,
    current.location_id::varchar as location_id,
    current.city::varchar as city,
    current.province::varchar as province,
    current.country::varchar as country,
    current.is_present,
    {% if is_incremental() %}
    {{ version_loaded_at('current._loaded_at', 'latest._loaded_at') }} as _loaded_at
    {% else %}
    current._loaded_at::timestamp as _loaded_at
    {% endif %}
from current
{% if is_incremental() %}
left join ({{ latest_versions('customer_id') }}) as latest on current.customer_id = latest.customer_id
where
    current.is_present <> coalesce(latest.is_present, false)
    or current.is_present
    and (current.customer_name, current.location_id) is distinct from (latest.customer_name, latest.location_id)
{% endif %}
