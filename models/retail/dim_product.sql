MODEL (
  name retail.dim_product,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain product_id,
  tags (retail, mart),
  description 'One row per product sold. Answers: which products do we sell? In which category, and at which price? The source has no table of products: name, category and price are those of the newest order.',
  audits (
    unique_combination_of_columns(columns := product_id)
  )
);

WITH sold AS (
  SELECT
    product_id,
    MAX(ordered_at) AS last_ordered_at,
    MIN(order_date) AS first_order_date
  FROM intermediate.int_retail__sales_validated
  WHERE
    is_valid
  GROUP BY
    product_id
), newest AS (
  SELECT
    lines.*,
    sold.first_order_date,
    ROW_NUMBER() OVER (PARTITION BY lines.product_id ORDER BY lines.order_id DESC) AS newness_rank
  FROM intermediate.int_retail__sales_validated AS lines
  INNER JOIN sold
    ON lines.product_id = sold.product_id AND lines.ordered_at = sold.last_ordered_at
  WHERE
    lines.is_valid
)
SELECT
  product_id::BIGINT AS product_id, /* Product */
  product_name::VARCHAR AS product_name, /* Name on the newest order */
  product_category::VARCHAR AS product_category, /* Category on the newest order */
  unit_price_amount::DECIMAL(18, 2) AS latest_unit_price_amount, /* Price per unit in USD on the newest order */
  first_order_date::DATE AS first_order_date, /* Day of the first order */
  order_date::DATE AS last_order_date /* Day of the newest order */
FROM newest
WHERE
  newness_rank = 1
