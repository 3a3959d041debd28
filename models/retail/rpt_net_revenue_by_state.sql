MODEL (
  name retail.rpt_net_revenue_by_state,
  kind FULL,
  owner retail_analytics,
  cron @cadence,
  grain (country, province),
  tags (retail, mart),
  description 'One row per province or state with an order line. Answers: which provinces or states have the most net revenue?',
  audits (
    unique_combination_of_columns(columns := (country, province)),
    totals_reconcile(
      measures := (
        order_count,
        line_count,
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount,
        shipping_amount
      ),
      against := retail.rpt_net_revenue_by_city,
      by := (country, province)
    )
  )
);

SELECT
  cities.country::VARCHAR AS country, /* Country */
  cities.province::VARCHAR AS province, /* Province or state */
  cities.region::VARCHAR AS region, /* Sales region */
  SUM(cities.order_count)::INT AS order_count, /* Orders with a line sold; an order shipped to two locations counts in both */
  SUM(cities.line_count)::INT AS line_count, /* Lines sold */
  SUM(cities.total_revenue_amount)::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  SUM(cities.total_discount_amount)::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  SUM(cities.net_revenue_amount)::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  SUM(cities.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM retail.rpt_net_revenue_by_city AS cities
GROUP BY
  cities.country,
  cities.province,
  cities.region
