MODEL (
  name intermediate.int_retail__sales_priced,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(order_id, product_id)
  ),
  clustered_by order_date,
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain (order_id, product_id),
  tags (retail, intermediate),
  description 'One row per order line ever loaded, with its amounts. Amounts are rounded here, once, on the line. is_valid is false for rejected and cancelled lines. They stay with amounts of 0, because a merge does not remove rows. Their days are aggregated again. retail.fct_sales shows the valid lines. It is a separate table, so that it is written only after the audits of int_retail__sales_validated have passed. Refresh: incremental (affected keys).',
  audits (
    unique_combination_of_columns(columns := (order_id, product_id), condition := _loaded_at >= @start_dtntz),
    not_null(
      columns := (
        customer_id,
        quantity,
        total_revenue_amount,
        total_discount_amount,
        net_revenue_amount
      ),
      condition := is_valid AND _loaded_at >= @start_dtntz
    ),
    forall(
      criteria := (
        NOT net_revenue_amount IS NULL,
        net_revenue_amount IS NOT DISTINCT FROM total_revenue_amount - total_discount_amount,
        total_discount_amount <= total_revenue_amount
      ),
      condition := _loaded_at >= @start_dtntz
    ),
    forall_non_blocking(criteria := NOT is_free, condition := _loaded_at >= @start_dtntz)
  )
);

WITH lines AS (
  SELECT
    *,
    reject_reasons IS NULL AND NOT is_deleted AS is_valid
  FROM intermediate.int_retail__sales_validated
  WHERE
    NOT order_id IS NULL
    AND NOT product_id IS NULL
    AND recency_rank = 1
    AND _loaded_at >= @start_dtntz
), priced AS (
  SELECT
    *,
    COALESCE(NULLIF(TRIM(city, ' '), ''), 'Unknown') AS known_city,
    COALESCE(NULLIF(TRIM(province, ' '), ''), 'Unknown') AS known_province,
    COALESCE(NULLIF(TRIM(country, ' '), ''), 'Unknown') AS known_country,
    @money(IFF(is_valid, quantity * unit_price_amount::DECIMAL(19, 2), 0)) AS total_revenue_amount,
    @money(IFF(is_valid, quantity * unit_discount_amount, 0)) AS total_discount_amount
  FROM lines
)
SELECT
  order_id, /* Order */
  product_id, /* Product */
  customer_id, /* Customer */
  MD5(known_country || '|' || known_province || '|' || known_city)::VARCHAR AS location_id, /* Ship-to location */
  customer_name, /* Name of the customer */
  product_name, /* Name of the product */
  product_category, /* Category of the product */
  known_city::VARCHAR AS city, /* Ship-to city, 'Unknown' if missing */
  known_province::VARCHAR AS province, /* Province or state of the city, 'Unknown' if missing */
  known_country::VARCHAR AS country, /* Country of the province or state, 'Unknown' if missing */
  quantity, /* Units sold */
  unit_price_amount, /* Price per unit in USD */
  discount_rate, /* Discount as a rate of the unit price */
  unit_discount_amount, /* Discount per unit in USD, exact */
  total_revenue_amount::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: quantity × unit price, in USD; 0 unless valid */
  total_discount_amount::DECIMAL(18, 2) AS total_discount_amount, /* quantity × unit discount in USD; 0 unless valid */
  (
    total_revenue_amount - total_discount_amount
  )::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD; 0 unless valid */
  IFF(is_valid, COALESCE(shipping_amount, 0), 0)::DECIMAL(18, 2) AS shipping_amount, /* Shipping in USD; 0 unless valid */
  COALESCE(is_valid AND unit_price_amount = 0, FALSE) AS is_free, /* Whether the product was free of charge: a warning, the line counts */
  is_valid, /* Whether the line is accepted and not soft-deleted */
  ordered_at, /* When the order was placed, UTC */
  purchased_at, /* When the order was paid, UTC */
  order_date, /* Day the order was placed, UTC */
  updated_at, /* When the source last wrote the line, UTC */
  _loaded_at /* Start of the newest load that affected the line, UTC */
FROM priced
