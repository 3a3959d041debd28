MODEL (
  name retail.rpt_revenue_daily,
  kind VIEW,
  owner retail_analytics,
  cron @cadence,
  grain (order_date, location_id),
  references location_id,
  tags (retail, mart),
  description 'One row per day and location with a sale. Answers: how much did we sell per day and location? A day without a sale has no row: join shared.dim_date to add it.',
  depends_on (retail.fct_sales, shared.dim_location),
  audits (
    relationships(column := location_id, parent := shared.dim_location, parent_column := location_id),
    forall(
      criteria := (
        NOT net_revenue_amount IS NULL,
        net_revenue_amount IS NOT DISTINCT FROM total_revenue_amount - total_discount_amount,
        total_discount_amount <= total_revenue_amount
      )
    ),
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
  order_count::INT AS order_count, /* Orders with a line sold */
  line_count::INT AS line_count, /* Lines sold */
  quantity::BIGINT AS quantity, /* Units sold */
  total_revenue_amount::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  total_discount_amount::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  net_revenue_amount::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  shipping_amount::DECIMAL(18, 2) AS shipping_amount /* Shipping in USD */
FROM intermediate.int_retail__sales_aggregated
WHERE
  line_count > 0
