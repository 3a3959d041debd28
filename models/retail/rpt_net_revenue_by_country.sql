MODEL (
  name retail.rpt_net_revenue_by_country,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain country,
  tags (retail, mart),
  description 'One row per country with an order line. Answers: which countries have the most net revenue? An order shipped to two countries counts in both: do not sum order_count.',
  audits (
    unique_combination_of_columns(columns := country)
  )
);

SELECT
  locations.country::VARCHAR AS country, /* Country */
  COUNT(DISTINCT sales.order_id)::INT AS order_count, /* Orders with a line shipped to the country */
  COUNT(*)::INT AS line_count, /* Lines sold */
  SUM(sales.total_revenue_amount)::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  SUM(sales.total_discount_amount)::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  SUM(sales.net_revenue_amount)::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  SUM(sales.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM retail.fct_sales AS sales
LEFT JOIN shared.dim_location AS locations
  ON sales.location_id = locations.location_id
GROUP BY
  locations.country
