MODEL (
  name history.hist_customer,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain (customer_id, valid_from),
  tags (retail, history),
  description 'One row per customer and version of name and location. Answers: which name and location did the customer have at a given time? The source has no table of customers, so a version begins with the load that brought the change.',
  audits (
    unique_combination_of_columns(columns := (customer_id, valid_from))
  )
);

WITH versions AS (
  /* Two runs at the same time append the same version twice. */
  SELECT DISTINCT
    *
  FROM intermediate.int_retail__customer_versions
), ranges AS (
  SELECT
    *,
    _loaded_at AS valid_from,
    LEAD(_loaded_at) OVER (PARTITION BY customer_id ORDER BY _loaded_at) AS valid_to
  FROM versions
)
SELECT
  customer_id::BIGINT AS customer_id, /* Customer */
  @mask(customer_name)::VARCHAR AS customer_name, /* Name on the newest order; personal, masked on Snowflake */
  location_id::VARCHAR AS location_id, /* Ship-to location of the newest order */
  city::VARCHAR AS city, /* City of the newest order */
  province::VARCHAR AS province, /* Province or state of the newest order */
  country::VARCHAR AS country, /* Country of the newest order */
  valid_from::TIMESTAMPNTZ AS valid_from, /* When the version became valid, UTC */
  valid_to::TIMESTAMPNTZ AS valid_to /* When it ended, UTC; NULL while it is current */
FROM ranges
WHERE
  is_present
