MODEL (
  name intermediate.int_retail__sales_checked,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(order_id, -1), COALESCE(product_id, -1), copy_number)
  ),
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain (order_id, product_id, copy_number),
  tags (retail, intermediate),
  description 'One row per order line as landed, with the verdict on it. Refused lines and deleted ones stay, because a merge cannot remove rows: readers filter on reject_reasons and is_deleted. Only orders touched by the landing are judged again, all their lines together.',
  signals (
    landed(source := 'retail', gateway := @gateway)
  ),
  audits (
    grain_is_unique(
      columns := (order_id, product_id, copy_number),
      condition := _landed_at >= @start_dtntz
    ),
    rows_are_conserved(
      landed := staging.stg_retail__sales,
      key := (order_id, product_id),
      since := @start_dtntz
    ),
    never_changes(
      column := order_date,
      first_value := first_order_date,
      condition := copy_number = 1 AND _landed_at >= @start_dtntz
    ),
    live_rows_hold(max_drop_rate := 0.2)
  )
);

WITH touched AS (
  SELECT
    order_id
  FROM staging.stg_retail__sales
  WHERE
    _landed_at >= @start_dtntz
), landed AS (
  SELECT
    *
  FROM staging.stg_retail__sales
  WHERE
    @is_touched(order_id)
  UNION ALL
  /* Lines without a number are few, and judged every time: no order brings them along. */
  SELECT
    *
  FROM staging.stg_retail__sales
  WHERE
    order_id IS NULL
), numbered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY order_id, product_id
      ORDER BY updated_at DESC NULLS LAST, _landed_at DESC, ordered_at DESC, unit_price_amount DESC, quantity DESC, discount_rate, shipping_amount, customer_id, customer_name, product_name, product_category, city, province, country, purchased_at, deleted_at NULLS FIRST
    ) AS copy_number,
    MAX(_landed_at) OVER (PARTITION BY order_id, product_id) AS key_landed_at
  FROM landed
), previous AS (
  SELECT
    lines.order_id,
    lines.product_id,
    IFF(
      lines.reject_reasons IS NULL
      OR lines.order_date IS DISTINCT FROM lines.first_order_date,
      lines.first_order_date,
      NULL
    ) AS first_order_date /* A refused line may correct its date, but one whose date moved since it was accepted keeps failing until it is set back. */
  FROM intermediate.int_retail__sales_checked AS lines
  WHERE
    @is_touched(lines.order_id) AND lines.copy_number = 1
)
SELECT
  numbered.order_id, /* Order */
  numbered.product_id, /* Product */
  numbered.copy_number::INT AS copy_number, /* 1 for the newest row with this key, then 2, 3 … */
  numbered.customer_id, /* Customer */
  numbered.customer_name, /* Name of the customer */
  numbered.product_name, /* Name of the product */
  numbered.product_category, /* Category of the product */
  numbered.city, /* City the line was shipped to */
  numbered.province, /* Province or state of the city */
  numbered.country, /* Country of the province */
  numbered.quantity, /* Units sold */
  numbered.unit_price_amount, /* Price per unit in USD */
  numbered.discount_rate, /* Discount as a rate of the price */
  numbered.unit_discount_amount, /* Discount per unit in USD, exact */
  numbered.shipping_amount, /* Shipping of this line in USD */
  numbered.ordered_at, /* When the order was placed, UTC */
  numbered.purchased_at, /* When the order was paid, UTC */
  numbered.order_date, /* Day the order was placed, UTC */
  COALESCE(previous.first_order_date, numbered.order_date)::DATE AS first_order_date, /* order_date when the line was first accepted */
  NOT numbered.deleted_at IS NULL AS is_deleted, /* Whether the application cancelled or deleted the line */
  @reject_reasons(
    missing_order_id := numbered.order_id IS NULL,
    missing_product_id := numbered.product_id IS NULL,
    duplicate_order_line := numbered.copy_number > 1
    AND NOT (
      numbered.order_id IS NULL OR numbered.product_id IS NULL
    ),
    missing_customer_id := numbered.customer_id IS NULL,
    missing_order_date := numbered.ordered_at IS NULL,
    ordered_after_landing := numbered.ordered_at > DATEADD(DAY, 1, numbered._landed_at)::TIMESTAMPNTZ,
    missing_quantity := numbered.quantity IS NULL,
    quantity_not_positive := numbered.quantity <= 0,
    missing_price := numbered.unit_price_amount IS NULL,
    negative_price := numbered.unit_price_amount < 0,
    missing_discount := numbered.discount_rate IS NULL,
    discount_rate_out_of_range := NOT numbered.discount_rate BETWEEN 0 AND 1,
    negative_shipping_cost := numbered.shipping_amount < 0,
    amount_out_of_range := ABS(numbered.quantity * numbered.unit_price_amount::DECIMAL(19, 2)) >= 1000000000
  )::VARCHAR AS reject_reasons, /* Every reason for refusing the row, empty if accepted */
  numbered.updated_at, /* When the application last wrote the row, UTC */
  numbered.key_landed_at AS _landed_at /* Start of the newest load that touched the line, UTC */
FROM numbered
LEFT JOIN previous
  ON numbered.order_id = previous.order_id
  AND numbered.product_id = previous.product_id
/* As they were sold: what lands together then stands together, and a merge or a day reads a part of the table. */
ORDER BY
  numbered.order_id,
  numbered.product_id,
  numbered.copy_number
