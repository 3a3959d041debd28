MODEL (
  name intermediate.int_retail__sales_validated,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key @merge_key(COALESCE(order_id, -1), COALESCE(product_id, -1), recency_rank)
  ),
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain (order_id, product_id, recency_rank),
  tags (retail, intermediate),
  description 'One row per order line as loaded, with the validation on it. Rejected lines and deleted ones stay, because a merge cannot remove rows: readers filter on reject_reasons and is_deleted. Only orders affected by the load are validated again, all their lines together.',
  signals (
    source_loaded(source := 'retail', gateway := @gateway)
  ),
  audits (
    unique_combination_of_columns(
      columns := (order_id, product_id, recency_rank),
      condition := _loaded_at >= @start_dtntz
    ),
    row_counts_reconcile(
      loaded := staging.stg_retail__sales,
      key := (order_id, product_id),
      since := @start_dtntz
    ),
    forall(
      criteria := order_date IS NOT DISTINCT FROM first_order_date,
      condition := recency_rank = 1 AND _loaded_at >= @start_dtntz
    ),
    max_deletion_rate(max_rate := 0.2)
  )
);

WITH affected AS (
  SELECT
    order_id
  FROM staging.stg_retail__sales
  WHERE
    _loaded_at >= @start_dtntz
), loaded AS (
  SELECT
    *
  FROM staging.stg_retail__sales
  WHERE
    @is_affected(order_id)
  UNION ALL
  /* Lines without a number are few, and validated every time: no order brings them along. */
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
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, ordered_at DESC, unit_price_amount DESC, quantity DESC, discount_rate, shipping_amount, customer_id, customer_name, product_name, product_category, city, province, country, purchased_at, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY order_id, product_id) AS key_loaded_at
  FROM loaded
), previous AS (
  SELECT
    lines.order_id,
    lines.product_id,
    IFF(
      lines.reject_reasons IS NULL
      OR lines.order_date IS DISTINCT FROM lines.first_order_date,
      lines.first_order_date,
      NULL
    ) AS first_order_date /* A rejected line may correct its date, but one whose date moved since it was accepted keeps failing until it is set back. */
  FROM intermediate.int_retail__sales_validated AS lines
  WHERE
    @is_affected(lines.order_id) AND lines.recency_rank = 1
)
SELECT
  numbered.order_id, /* Order */
  numbered.product_id, /* Product */
  numbered.recency_rank::INT AS recency_rank, /* 1 for the newest row with this key, then 2, 3 … */
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
  NOT numbered.deleted_at IS NULL AS is_deleted, /* Whether the source cancelled or deleted the line */
  @reject_reasons(
    missing_order_id := numbered.order_id IS NULL,
    missing_product_id := numbered.product_id IS NULL,
    duplicate_order_line := numbered.recency_rank > 1
    AND NOT (
      numbered.order_id IS NULL OR numbered.product_id IS NULL
    ),
    missing_customer_id := numbered.customer_id IS NULL,
    missing_order_date := numbered.ordered_at IS NULL,
    ordered_after_load := numbered.ordered_at > DATEADD(DAY, 1, numbered._loaded_at)::TIMESTAMPNTZ,
    missing_quantity := numbered.quantity IS NULL,
    quantity_not_positive := numbered.quantity <= 0,
    missing_price := numbered.unit_price_amount IS NULL,
    negative_price := numbered.unit_price_amount < 0,
    missing_discount := numbered.discount_rate IS NULL,
    discount_rate_out_of_range := NOT numbered.discount_rate BETWEEN 0 AND 1,
    negative_shipping_cost := numbered.shipping_amount < 0,
    amount_out_of_range := ABS(numbered.quantity * numbered.unit_price_amount::DECIMAL(19, 2)) >= 1000000000
  )::VARCHAR AS reject_reasons, /* Every reason for rejecting the row, empty if accepted */
  numbered.updated_at, /* When the source last wrote the row, UTC */
  numbered.key_loaded_at AS _loaded_at /* Start of the newest load that affected the line, UTC */
FROM numbered
LEFT JOIN previous
  ON numbered.order_id = previous.order_id
  AND numbered.product_id = previous.product_id
/* As they were sold: what loads together then stands together, and a merge or a day reads a part of the table. */
ORDER BY
  numbered.order_id,
  numbered.product_id,
  numbered.recency_rank
