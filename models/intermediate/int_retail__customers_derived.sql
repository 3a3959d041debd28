MODEL (
  name intermediate.int_retail__customers_derived,
  kind FULL,
  owner retail_analytics,
  cron @cadence,
  grain customer_id,
  tags (retail, intermediate),
  description 'One row per customer with a valid order line. The application has no table of customers: name and place are those of the newest order.',
  audits (
    grain_is_unique(columns := customer_id)
  )
);

WITH lines AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY ordered_at DESC, order_id DESC, product_id DESC) AS recency,
    MIN(order_date) OVER (PARTITION BY customer_id) AS first_order_date
  FROM intermediate.int_retail__sales_priced
  WHERE
    is_valid
)
SELECT
  customer_id, /* Customer */
  customer_name, /* Name on the newest order */
  location_id, /* Place of the newest order */
  city, /* City of the newest order */
  province, /* Province of the newest order */
  country, /* Country of the newest order */
  first_order_date::DATE AS first_order_date, /* Day of the first order */
  order_date::DATE AS last_order_date /* Day of the newest order */
FROM lines
WHERE
  recency = 1
