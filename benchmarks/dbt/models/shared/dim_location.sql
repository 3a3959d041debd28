{{ config(tags='daily') }}

-- City as on the newest day with a sale.
with spelled as (
    select
        location_id,
        max_by(city, order_date) as city,
        max_by(province, order_date) as province,
        max_by(country, order_date) as country,
        sum(line_count) as line_count
    from {{ ref('int_retail__sales_aggregated') }}
    group by location_id
),

keyed as (
    select
        *,
        {{ normalized('province') }} as province_key,
        {{ normalized('country') }} as country_key
    from spelled
),

-- Province and country as at the location with the most lines: one name for all of its cities.
locations as (
    select
        location_id,
        province_key,
        country_key,
        city,
        first_value(province) over (partition by country_key, province_key order by line_count desc, location_id) as province,
        first_value(country) over (partition by country_key order by line_count desc, location_id) as country
    from keyed
)

select
    locations.location_id::varchar as location_id,
    locations.city::varchar as city,
    locations.province::varchar as province,
    locations.country::varchar as country,
    coalesce(provinces.region, 'Unknown')::varchar as region
from locations
left join {{ ref('ref_province') }} as provinces
    on locations.country_key = {{ normalized('provinces.country') }}
    and locations.province_key = {{ normalized('provinces.province') }}
