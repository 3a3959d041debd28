MODEL (
  name retail.rpt_net_revenue_by_country,
  kind FULL,
  owner retail_analytics,
  cron @cadence,
  grain country,
  tags (retail, mart),
  description 'One row per country with an order line. Answers: which countries have the most net revenue?',
  audits (
    unique_combination_of_columns(columns := country),
    totals_reconcile(
      measures := (
        order_count,
        line_count,
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount,
        shipping_amount
      ),
      against := retail.rpt_net_revenue_by_state,
      by := country
    )
  )
);

SELECT
  states.country::VARCHAR AS country, /* Country */
  SUM(states.order_count)::INT AS order_count, /* Orders with a line sold; an order shipped to two locations counts in both */
  SUM(states.line_count)::INT AS line_count, /* Lines sold */
  SUM(states.total_revenue_amount)::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  SUM(states.total_discount_amount)::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  SUM(states.net_revenue_amount)::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  SUM(states.shipping_amount)::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM retail.rpt_net_revenue_by_state AS states
GROUP BY
  states.country
