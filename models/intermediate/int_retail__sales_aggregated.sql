MODEL (
  name intermediate.int_retail__sales_aggregated,
  kind CUSTOM (
    materialization 'replace_by_key',
    materialization_properties (key = order_date, row_exists = line_count > 0)
  ),
  owner data_platform,
  cron @cadence,
  grain (order_date, location_id),
  references location_id,
  tags (retail, intermediate),
  description 'One row per day and location with a sale. Refresh: incremental (affected days), however old. A day is affected if its lines are not those that it was computed from: their number, their revenue or their newest load differs. So a day that a line has left is found as well as the day it has moved to.',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := (order_date, location_id), condition := _loaded_at >= @start_dtntz)
  )
);

WITH lines AS (
  SELECT
    order_date,
    COUNT(*) AS line_count,
    SUM(net_revenue_amount) AS net_revenue_amount,
    MAX(_loaded_at) AS _loaded_at
  FROM intermediate.int_retail__sales_validated
  WHERE
    is_valid
  GROUP BY
    order_date
), computed AS (
  SELECT
    days.order_date,
    SUM(days.line_count) AS line_count,
    SUM(days.net_revenue_amount) AS net_revenue_amount,
    MAX(days._loaded_at) AS _loaded_at
  FROM intermediate.int_retail__sales_aggregated AS days
  WHERE
    @is_incremental()
  GROUP BY
    days.order_date
), affected AS (
  SELECT
    COALESCE(lines.order_date, computed.order_date) AS order_date
  FROM lines
  FULL JOIN computed
    ON lines.order_date = computed.order_date
  WHERE
    lines.line_count IS DISTINCT FROM computed.line_count
    OR lines.net_revenue_amount IS DISTINCT FROM computed.net_revenue_amount
    OR lines._loaded_at IS DISTINCT FROM computed._loaded_at
), sums AS (
  /* A day without a sale is kept as one row without lines, so that its rows are removed. */
  SELECT
    affected.order_date,
    sales.location_id,
    MAX(TRIM(sales.city, ' ')) AS city,
    MAX(TRIM(sales.province, ' ')) AS province,
    MAX(TRIM(sales.country, ' ')) AS country,
    COUNT(DISTINCT sales.order_id) AS order_count,
    COUNT(sales.order_id) AS line_count,
    SUM(sales.quantity) AS quantity,
    SUM(sales.total_revenue_amount) AS total_revenue_amount,
    SUM(sales.total_discount_amount) AS total_discount_amount,
    SUM(sales.net_revenue_amount) AS net_revenue_amount,
    SUM(sales.shipping_amount) AS shipping_amount,
    MAX(sales._loaded_at) AS _loaded_at
  FROM affected
  LEFT JOIN intermediate.int_retail__sales_validated AS sales
    ON affected.order_date = sales.order_date AND sales.is_valid
  GROUP BY
    affected.order_date,
    sales.location_id
)
SELECT
  order_date::DATE AS order_date, /* Day the orders were placed, UTC */
  location_id::VARCHAR AS location_id, /* Ship-to location */
  @location_name(city)::VARCHAR AS city, /* City as the source spells it, 'Unknown' if missing */
  @location_name(province)::VARCHAR AS province, /* Province or state likewise */
  @location_name(country)::VARCHAR AS country, /* Country likewise */
  order_count::INT AS order_count, /* Orders with a line sold on the day at the location */
  line_count::INT AS line_count, /* Lines sold */
  COALESCE(quantity, 0)::BIGINT AS quantity, /* Units sold */
  COALESCE(total_revenue_amount, 0)::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: sales before discount, in USD */
  COALESCE(total_discount_amount, 0)::DECIMAL(18, 2) AS total_discount_amount, /* Discount in USD */
  COALESCE(net_revenue_amount, 0)::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD */
  COALESCE(shipping_amount, 0)::DECIMAL(18, 2) AS shipping_amount, /* Shipping in USD */
  _loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the newest load of a line, UTC */
FROM sums
