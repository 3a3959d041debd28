MODEL (
  name retail.rpt_net_revenue_by_state,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain (country, province),
  tags (retail, mart),
  description 'One row per province or state with an order line. Answers: which provinces or states have the most net revenue? An order shipped to two of them counts in both: do not sum order_count.',
  audits (
    unique_combination_of_columns(columns := (country, province))
  )
);

SELECT
  locations.country::VARCHAR AS country, /* Country */
  locations.province::VARCHAR AS province, /* Province or state */
  locations.region::VARCHAR AS region, /* Sales region */
  COUNT(DISTINCT sales.order_id)::INT AS order_count, /* Orders with a line shipped to the province or state */
  COUNT(*)::INT AS line_count, /* Lines sold */
  SUM(sales.total_revenue_amount)::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  SUM(sales.total_discount_amount)::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  SUM(sales.net_revenue_amount)::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  SUM(sales.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM retail.fct_sales AS sales
LEFT JOIN shared.dim_location AS locations
  ON sales.location_id = locations.location_id
GROUP BY
  locations.country,
  locations.province,
  locations.region
