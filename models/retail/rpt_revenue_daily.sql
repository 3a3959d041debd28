MODEL (
  name retail.rpt_revenue_daily,
  kind VIEW,
  owner retail_analytics,
  cron '@daily',
  grain (order_date, location_id),
  references location_id,
  tags (retail, mart),
  description 'One row per day and location with a sale. Answers: how much did we sell per day and location? A day without a sale has no row: join shared.dim_date to add it. An order shipped to two locations counts at both: count orders of several locations in retail.fct_sales.',
  depends_on (
    retail.fct_sales
  ),
  audits (
    totals_reconcile(
      measures := (
        line_count,
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount,
        shipping_amount
      ),
      against := retail.fct_sales,
      against_measures := (
        1,
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount,
        shipping_amount
      ),
      by := (order_date, location_id)
    )
  )
);

SELECT
  order_date::DATE AS order_date, /* Day the orders were placed, UTC */
  location_id::VARCHAR AS location_id, /* Ship-to location */
  order_count::INT AS order_count, /* Orders with a line sold on the day at the location */
  line_count::INT AS line_count, /* Lines sold */
  quantity::BIGINT AS quantity, /* Units sold */
  total_revenue_amount::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  total_discount_amount::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  net_revenue_amount::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  shipping_amount::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM intermediate.int_retail__sales_aggregated
