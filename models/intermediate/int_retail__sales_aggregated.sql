MODEL (
  name intermediate.int_retail__sales_aggregated,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(order_date, location_id)
  ),
  owner data_platform,
  cron @cadence,
  grain (order_date, location_id),
  references location_id,
  tags (retail, intermediate),
  description 'One row per day and location that has, or once had, a sale. A day and location whose last line is cancelled, rejected or moved keeps a row of zeros: a merge does not remove rows. retail.rpt_revenue_daily shows the rows with lines. Refresh: incremental (affected days), however old. Rows are merged by key, because INCREMENTAL_BY_PARTITION is forward-only in SQLMesh: a changed price rule would not reach these sums.',
  audits (
    unique_combination_of_columns(columns := (order_date, location_id)),
    totals_reconcile(
      measures := (
        line_count,
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount,
        shipping_amount
      ),
      against := intermediate.int_retail__sales_priced,
      against_measures := (
        IFF(is_valid, 1, 0),
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount,
        shipping_amount
      ),
      by := (
        order_date
      )
    )
  )
);

WITH affected AS (
  SELECT DISTINCT
    order_date
  FROM intermediate.int_retail__sales_priced
  WHERE
    _loaded_at >= @start_dtntz
), aggregated AS (
  SELECT
    lines.order_date,
    lines.location_id,
    COUNT(DISTINCT lines.order_id) AS order_count,
    COUNT(*) AS line_count,
    SUM(lines.quantity) AS quantity,
    SUM(lines.total_revenue_amount) AS total_revenue_amount,
    SUM(lines.total_discount_amount) AS total_discount_amount,
    SUM(lines.net_revenue_amount) AS net_revenue_amount,
    SUM(lines.shipping_amount) AS shipping_amount
  FROM intermediate.int_retail__sales_priced AS lines
  INNER JOIN affected
    ON lines.order_date = affected.order_date
  WHERE
    lines.is_valid
  GROUP BY
    lines.order_date,
    lines.location_id
), emptied AS (
  SELECT
    previous.order_date,
    previous.location_id,
    0 AS order_count,
    0 AS line_count,
    0 AS quantity,
    0 AS total_revenue_amount,
    0 AS total_discount_amount,
    0 AS net_revenue_amount,
    0 AS shipping_amount
  FROM intermediate.int_retail__sales_aggregated AS previous
  INNER JOIN affected
    ON previous.order_date = affected.order_date
  LEFT JOIN aggregated
    ON previous.order_date = aggregated.order_date
    AND previous.location_id = aggregated.location_id
  WHERE
    aggregated.location_id IS NULL
), recomputed AS (
  SELECT
    *
  FROM aggregated
  UNION ALL
  SELECT
    *
  FROM emptied
)
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
FROM recomputed
