MODEL (
  name shared.dim_location,
  kind FULL,
  owner retail_analytics,
  cron @cadence,
  grain location_id,
  tags (retail, shared),
  description 'One row per ship-to city, and one for order lines whose location is unknown. Answers: which city, province and country is a location? Which sales region does it belong to? A province that is not in shared.ref_province has the region Unknown.',
  audits (
    unique_combination_of_columns(columns := location_id),
    not_null(columns := (location_id, city, province, country, region)),
    forall_non_blocking(criteria := region <> 'Unknown', condition := province <> 'Unknown')
  )
);

WITH locations AS (
  SELECT DISTINCT
    location_id,
    city,
    province,
    country
  FROM intermediate.int_retail__sales_priced
  WHERE
    is_valid
)
SELECT
  locations.location_id::VARCHAR AS location_id, /* Location, a hash of country, province and city */
  locations.city::VARCHAR AS city, /* City, 'Unknown' if missing */
  locations.province::VARCHAR AS province, /* Province or state, 'Unknown' if missing */
  locations.country::VARCHAR AS country, /* Country, 'Unknown' if missing */
  COALESCE(provinces.region, 'Unknown')::VARCHAR AS region /* Sales region of the province or state, 'Unknown' if it is not in shared.ref_province */
FROM locations
LEFT JOIN shared.ref_province AS provinces
  ON locations.country = provinces.country AND locations.province = provinces.province
