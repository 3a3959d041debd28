MODEL (
  name intermediate.int_retail__customers_derived,
  kind FULL,
  owner retail_analytics,
  cron @cadence,
  grain customer_id,
  tags (retail, intermediate),
  description 'One row per customer with a valid order line. The source has no table of customers: name and location are those of the newest order.',
  audits (
    unique_combination_of_columns(columns := customer_id)
  )
);

WITH sold AS (
  SELECT
    customer_id,
    MAX(ordered_at) AS last_ordered_at,
    MIN(order_date) AS first_order_date
  FROM intermediate.int_retail__sales_priced
  WHERE
    is_valid
  GROUP BY
    customer_id
), newest AS (
  SELECT
    lines.*,
    sold.first_order_date,
    ROW_NUMBER() OVER (
      PARTITION BY lines.customer_id
      ORDER BY lines.order_id DESC, lines.product_id DESC
    ) AS recency_rank
  FROM intermediate.int_retail__sales_priced AS lines
  INNER JOIN sold
    ON lines.customer_id = sold.customer_id AND lines.ordered_at = sold.last_ordered_at
  WHERE
    lines.is_valid
)
SELECT
  customer_id, /* Customer */
  customer_name, /* Name on the newest order */
  location_id, /* Ship-to location of the newest order */
  city, /* City of the newest order */
  province, /* Province or state of the newest order */
  country, /* Country of the newest order */
  first_order_date::DATE AS first_order_date, /* Day of the first order */
  order_date::DATE AS last_order_date /* Day of the newest order */
FROM newest
WHERE
  recency_rank = 1
