{% snapshot hist_customer %}

{{ config(unique_key='customer_id', strategy='check', check_cols=['customer_name', 'location_id']) }}

select
    customer_id::bigint as customer_id,
    customer_name::varchar as customer_name,
    location_id::varchar as location_id,
    city::varchar as city,
    province::varchar as province,
    country::varchar as country
from {{ ref('int_retail__customers_derived') }}

{% endsnapshot %}
