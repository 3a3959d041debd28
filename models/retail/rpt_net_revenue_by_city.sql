MODEL (
  name retail.rpt_net_revenue_by_city,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain location_id,
  references location_id,
  tags (retail, mart),
  description 'One row per city with an order line. Answers: which cities have the most net revenue? Lines without a location count as Unknown. An order shipped to two cities counts in both: do not sum order_count.',
  depends_on (
    retail.rpt_revenue_daily
  ),
  audits (
    unique_combination_of_columns(columns := location_id),
    totals_reconcile(
      measures := (
        line_count,
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount,
        shipping_amount
      ),
      against := retail.rpt_revenue_daily,
      by := location_id
    )
  )
);

SELECT
  sales.location_id::VARCHAR AS location_id, /* Ship-to location */
  locations.city::VARCHAR AS city, /* City */
  locations.province::VARCHAR AS province, /* Province or state */
  locations.country::VARCHAR AS country, /* Country */
  locations.region::VARCHAR AS region, /* Sales region */
  COUNT(DISTINCT sales.order_id)::INT AS order_count, /* Orders with a line shipped to the city */
  COUNT(*)::INT AS line_count, /* Lines sold */
  SUM(sales.total_revenue_amount)::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  SUM(sales.total_discount_amount)::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  SUM(sales.net_revenue_amount)::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  SUM(sales.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM retail.fct_sales AS sales
LEFT JOIN shared.dim_location AS locations
  ON sales.location_id = locations.location_id
GROUP BY
  sales.location_id,
  locations.city,
  locations.province,
  locations.country,
  locations.region
