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
  description 'One row per loaded order line, with its validation result. Rejected and soft-deleted lines stay, because a merge does not remove rows: readers filter on reject_reasons and is_deleted. Refresh: incremental (affected keys). All lines of an affected order are validated again.',
  signals (
    source_loaded(source := 'retail', gateway := @gateway)
  ),
  audits (
    unique_combination_of_columns(
      columns := (order_id, product_id, recency_rank),
      condition := _loaded_at >= @start_dtntz
    ),
    row_counts_reconcile(
      against := staging.stg_retail__sales,
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
  /* Lines without an order are few. They are validated every time, because no affected key finds them. */
  SELECT
    *
  FROM staging.stg_retail__sales
  WHERE
    order_id IS NULL
), ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY order_id, product_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, ordered_at DESC, unit_price_amount DESC, quantity DESC, discount_rate, shipping_amount, customer_id, customer_name, product_name, product_category, city, province, country, purchased_at, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY order_id, product_id) AS latest_loaded_at
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
    ) AS first_order_date /* A rejected line may correct its date. A line whose date has moved since it was accepted fails the audit until the date is set back. */
  FROM intermediate.int_retail__sales_validated AS lines
  WHERE
    @is_affected(lines.order_id) AND lines.recency_rank = 1
)
SELECT
  ranked.order_id, /* Order */
  ranked.product_id, /* Product */
  ranked.recency_rank::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  ranked.customer_id, /* Customer */
  ranked.customer_name, /* Name of the customer */
  ranked.product_name, /* Name of the product */
  ranked.product_category, /* Category of the product */
  ranked.city, /* Ship-to city */
  ranked.province, /* Province or state of the city */
  ranked.country, /* Country of the province or state */
  ranked.quantity, /* Units sold */
  ranked.unit_price_amount, /* Price per unit in USD */
  ranked.discount_rate, /* Discount as a rate of the unit price */
  ranked.unit_discount_amount, /* Discount per unit in USD, exact */
  ranked.shipping_amount, /* Shipping of this line in USD */
  ranked.ordered_at, /* When the order was placed, UTC */
  ranked.purchased_at, /* When the order was paid, UTC */
  ranked.order_date, /* Day the order was placed, UTC */
  COALESCE(previous.first_order_date, ranked.order_date)::DATE AS first_order_date, /* order_date of the line when it was first accepted */
  NOT ranked.deleted_at IS NULL AS is_deleted, /* Whether the line is soft-deleted, which is how the source cancels it */
  @reject_reasons(
    missing_order_id := ranked.order_id IS NULL,
    missing_product_id := ranked.product_id IS NULL,
    duplicate_order_line := ranked.recency_rank > 1
    AND NOT (
      ranked.order_id IS NULL OR ranked.product_id IS NULL
    ),
    missing_customer_id := ranked.customer_id IS NULL,
    missing_order_date := ranked.ordered_at IS NULL,
    ordered_after_load := ranked.ordered_at > DATEADD(DAY, 1, ranked._loaded_at)::TIMESTAMPNTZ,
    missing_quantity := ranked.quantity IS NULL,
    quantity_not_positive := ranked.quantity <= 0,
    missing_price := ranked.unit_price_amount IS NULL,
    negative_price := ranked.unit_price_amount < 0,
    missing_discount := ranked.discount_rate IS NULL,
    discount_rate_out_of_range := NOT ranked.discount_rate BETWEEN 0 AND 1,
    negative_shipping_cost := ranked.shipping_amount < 0,
    amount_out_of_range := ABS(ranked.quantity * ranked.unit_price_amount::DECIMAL(19, 2)) >= 1000000000
  )::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  ranked.updated_at, /* When the source last wrote the row, UTC */
  ranked.latest_loaded_at AS _loaded_at /* Start of the newest load that affected the line, UTC */
FROM ranked
LEFT JOIN previous
  ON ranked.order_id = previous.order_id AND ranked.product_id = previous.product_id
/* In the order of sale: rows of one load are stored together, and a merge or a day reads only a part of the table. */
ORDER BY
  ranked.order_id,
  ranked.product_id,
  ranked.recency_rank
