MODEL (
  name retail.rpt_net_revenue_by_city,
  kind FULL,
  owner retail_analytics,
  cron @cadence,
  grain location_id,
  references location_id,
  tags (retail, mart),
  description 'One row per city with an order line. Answers: which cities have the most net revenue? Lines without a location count as Unknown.',
  audits (
    unique_combination_of_columns(columns := location_id),
    totals_reconcile(
      measures := (
        order_count,
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
  days.location_id::VARCHAR AS location_id, /* Ship-to location */
  locations.city::VARCHAR AS city, /* City */
  locations.province::VARCHAR AS province, /* Province or state */
  locations.country::VARCHAR AS country, /* Country */
  locations.region::VARCHAR AS region, /* Sales region */
  SUM(days.order_count)::INT AS order_count, /* Orders with a line sold; an order shipped to two locations counts in both */
  SUM(days.line_count)::INT AS line_count, /* Lines sold */
  SUM(days.total_revenue_amount)::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  SUM(days.total_discount_amount)::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  SUM(days.net_revenue_amount)::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  SUM(days.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM retail.rpt_revenue_daily AS days
LEFT JOIN shared.dim_location AS locations
  ON days.location_id = locations.location_id
GROUP BY
  days.location_id,
  locations.city,
  locations.province,
  locations.country,
  locations.region
