MODEL (
  name shared.dim_location,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain location_id,
  tags (retail, shared),
  description 'One row per ship-to city, and one for order lines whose location is unknown. Names that differ in case, accents or white space are one location. Answers: which city, province and country is a location? Which sales region does it belong to? A province that is not in shared.ref_province has the region Unknown.',
  audits (
    unique_combination_of_columns(columns := location_id),
    not_null(columns := (location_id, city, province, country, region)),
    forall_non_blocking(criteria := region <> 'Unknown', condition := province <> 'Unknown')
  )
);

WITH spelled AS (
  /* City as on the newest day with a sale. */
  SELECT
    location_id,
    MAX_BY(city, order_date) AS city,
    MAX_BY(province, order_date) AS province,
    MAX_BY(country, order_date) AS country,
    SUM(line_count) AS line_count
  FROM intermediate.int_retail__sales_aggregated
  GROUP BY
    location_id
), keyed AS (
  SELECT
    *,
    @normalized(province) AS province_key,
    @normalized(country) AS country_key
  FROM spelled
), locations AS (
  /* Province and country as at the location with the most lines: one name for all of its cities. */
  SELECT
    location_id,
    province_key,
    country_key,
    city,
    FIRST_VALUE(province) OVER (PARTITION BY country_key, province_key ORDER BY line_count DESC, location_id) AS province,
    FIRST_VALUE(country) OVER (PARTITION BY country_key ORDER BY line_count DESC, location_id) AS country
  FROM keyed
)
SELECT
  locations.location_id::VARCHAR AS location_id, /* Location, a hash of the normalized country, province and city */
  locations.city::VARCHAR AS city, /* City as the source spells it, 'Unknown' if missing */
  locations.province::VARCHAR AS province, /* Province or state likewise */
  locations.country::VARCHAR AS country, /* Country likewise */
  COALESCE(provinces.region, 'Unknown')::VARCHAR AS region /* Sales region of the province or state, 'Unknown' if it is not in shared.ref_province */
FROM locations
LEFT JOIN shared.ref_province AS provinces
  ON locations.country_key = @normalized(provinces.country)
  AND locations.province_key = @normalized(provinces.province)
