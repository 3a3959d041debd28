MODEL (
  name retail.dim_customer,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain customer_id,
  references location_id,
  tags (retail, mart),
  description 'One row per customer with a sale, as of the newest order. Answers: who are our customers? Where do they live? How long have they been with us? Earlier names and locations are in history.hist_customer.',
  depends_on (
    shared.dim_location
  ),
  audits (
    unique_combination_of_columns(columns := customer_id),
    relationships(column := location_id, parent := shared.dim_location, parent_column := location_id)
  )
);

SELECT
  customer_id::BIGINT AS customer_id, /* Customer */
  @mask(customer_name)::VARCHAR AS customer_name, /* Name on the newest order; personal, masked on Snowflake */
  location_id::VARCHAR AS location_id, /* Ship-to location of the newest order */
  city::VARCHAR AS city, /* City of the newest order */
  province::VARCHAR AS province, /* Province or state of the newest order */
  country::VARCHAR AS country, /* Country of the newest order */
  first_order_date::DATE AS first_order_date, /* Day of the first order */
  last_order_date::DATE AS last_order_date /* Day of the newest order */
FROM intermediate.int_retail__customers_derived
