MODEL (
  name retail.fct_sales,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain (order_id, product_id),
  references (customer_id, product_id, location_id),
  tags (retail, mart),
  description 'One row per order line sold. Answers: what was sold to whom, where, when and for how much? Cancelled lines are left out, and rejected lines are in quarantine.retail_sales. Amounts are in USD, rounded to cents on the line, so sums of lines are exact. Do not sum unit amounts or rates.',
  depends_on (
    retail.dim_customer
  ),
  audits (
    not_null(
      columns := (order_id, product_id, customer_id, location_id, order_date, net_revenue_amount)
    ),
    relationships(column := customer_id, parent := retail.dim_customer, parent_column := customer_id)
  )
);

SELECT
  order_id::BIGINT AS order_id, /* Order */
  product_id::BIGINT AS product_id, /* Product */
  customer_id::BIGINT AS customer_id, /* Customer */
  location_id::VARCHAR AS location_id, /* Ship-to location */
  order_date::DATE AS order_date, /* Day the order was placed, UTC */
  ordered_at::TIMESTAMPNTZ AS ordered_at, /* When the order was placed, UTC */
  purchased_at::TIMESTAMPNTZ AS purchased_at, /* When the order was paid, UTC */
  quantity::INT AS quantity, /* Units sold */
  unit_price_amount::DECIMAL(18, 2) AS unit_price_amount, /* Price per unit in USD */
  discount_rate::DECIMAL(9, 4) AS discount_rate, /* Discount as a rate of the unit price, 0 to 1 */
  total_revenue_amount::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: quantity × unit price, in USD */
  total_discount_amount::DECIMAL(18, 2) AS total_discount_amount, /* quantity × unit price × discount rate in USD */
  net_revenue_amount::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD, without shipping */
  COALESCE(shipping_amount, 0)::DECIMAL(18, 2) AS shipping_amount, /* Shipping in USD */
  is_free::BOOLEAN AS is_free, /* Whether the product was free of charge */
  updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the line, UTC */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the newest load that affected the line, UTC */
FROM intermediate.int_retail__sales_validated
WHERE
  is_valid
