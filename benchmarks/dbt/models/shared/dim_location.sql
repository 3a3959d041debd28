with locations as (
    select distinct
        location_id,
        city,
        province,
        country
    from {{ ref('int_retail__sales_priced') }}
    where is_valid
)

select
    locations.location_id::varchar as location_id,
    locations.city::varchar as city,
    locations.province::varchar as province,
    locations.country::varchar as country,
    coalesce(provinces.region, 'Unknown')::varchar as region
from locations
left join {{ ref('ref_province') }} as provinces
    on locations.country = provinces.country and locations.province = provinces.province
