MODEL (
  name intermediate.int_retail__sales_validated,
  kind CUSTOM (
    materialization 'replace_by_key',
    materialization_properties (key = order_id)
  ),
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron @cadence,
  grain (order_id, product_id, recency_rank),
  tags (retail, intermediate),
  description 'One row per loaded order line, with its validation result and its amounts. Amounts are rounded here, once, on the line. They are 0 unless the line is valid: accepted and not soft-deleted. retail.fct_sales shows the valid lines, quarantine.retail_sales the rejected ones. Refresh: incremental (affected keys). All lines of an affected order are validated again.',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(
      columns := (order_id, product_id, recency_rank),
      condition := _loaded_at >= @start_dtntz
    ),
    unique_combination_of_columns(
      columns := (order_id, product_id),
      condition := is_valid AND _loaded_at >= @start_dtntz
    ),
    row_counts_reconcile(
      against := staging.stg_retail__sales,
      key := (order_id, product_id),
      since := @start_dtntz
    ),
    forall(
      criteria := (
        net_revenue_amount IS NOT DISTINCT FROM total_revenue_amount - total_discount_amount,
        total_discount_amount <= total_revenue_amount
      ),
      condition := _loaded_at >= @start_dtntz
    ),
    forall_non_blocking(criteria := NOT is_free, condition := _loaded_at >= @start_dtntz),
    forall_non_blocking(
      criteria := previous_order_date IS NULL,
      condition := is_valid AND _loaded_at >= @start_dtntz
    )
  )
);

WITH affected AS (
  SELECT
    order_id
  FROM staging.stg_retail__sales
  WHERE
    _loaded_at >= @since()
), staged AS (
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
), locations AS (
  /* Each spelling once: DuckDB's TRANSLATE takes 50 microseconds for a name with accents. */
  SELECT
    city,
    province,
    country,
    MD5(
      COALESCE(NULLIF(@normalized(country), ''), 'unknown') || '\t' || COALESCE(NULLIF(@normalized(province), ''), 'unknown') || '\t' || COALESCE(NULLIF(@normalized(city), ''), 'unknown')
    ) AS location_id /* No key contains a tab, so no two locations have the same text. */
  FROM (
    SELECT DISTINCT
      city,
      province,
      country
    FROM staged
  )
), ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY order_id, product_id
      ORDER BY updated_at DESC NULLS LAST, _loaded_at DESC, ordered_at DESC, unit_price_amount DESC, quantity DESC, discount_rate, shipping_amount, customer_id, customer_name, product_name, product_category, city, province, country, purchased_at, deleted_at NULLS FIRST
    ) AS recency_rank,
    MAX(_loaded_at) OVER (PARTITION BY order_id, product_id) AS latest_loaded_at
  FROM staged
), bounds AS (
  SELECT
    @bounds(
      numbers := (
        quantity,
        unit_price_amount,
        discount_rate,
        total_revenue_amount,
        shipping_amount
      ),
      dates := (ordered_at, purchased_at)
    )
  FROM intermediate.ref_bound
  WHERE
    source_table = 'retail.sales'
), validated AS (
  SELECT
    ranked.*,
    @reject_reasons(
      missing_order_id := ranked.order_id IS NULL,
      missing_product_id := ranked.product_id IS NULL,
      duplicate_order_line := ranked.recency_rank > 1
      AND NOT (
        ranked.order_id IS NULL OR ranked.product_id IS NULL
      ),
      missing_customer_id := ranked.customer_id IS NULL,
      missing_order_date := ranked.ordered_at IS NULL,
      order_date_out_of_range := NOT ranked.order_date BETWEEN bounds.lowest_ordered_at AND bounds.highest_ordered_at,
      ordered_after_load := ranked.ordered_at > DATEADD(DAY, 1, ranked._loaded_at)::TIMESTAMPNTZ,
      purchase_date_out_of_range := NOT ranked.purchased_at::DATE BETWEEN bounds.lowest_purchased_at AND bounds.highest_purchased_at,
      missing_quantity := ranked.quantity IS NULL,
      quantity_out_of_range := NOT ranked.quantity BETWEEN bounds.lowest_quantity AND bounds.highest_quantity,
      missing_price := ranked.unit_price_amount IS NULL,
      price_out_of_range := NOT ranked.unit_price_amount BETWEEN bounds.lowest_unit_price_amount AND bounds.highest_unit_price_amount,
      missing_discount := ranked.discount_rate IS NULL,
      discount_rate_out_of_range := NOT ranked.discount_rate BETWEEN bounds.lowest_discount_rate AND bounds.highest_discount_rate,
      shipping_cost_out_of_range := NOT ranked.shipping_amount BETWEEN bounds.lowest_shipping_amount AND bounds.highest_shipping_amount,
      amount_out_of_range := NOT ranked.quantity * ranked.unit_price_amount::DECIMAL(19, 2) BETWEEN bounds.lowest_total_revenue_amount AND bounds.highest_total_revenue_amount
    )::VARCHAR AS reject_reasons
  FROM ranked
  CROSS JOIN bounds
), priced AS (
  SELECT
    *,
    reject_reasons IS NULL AND deleted_at IS NULL AS is_valid,
    @money(
      IFF(
        reject_reasons IS NULL AND deleted_at IS NULL,
        quantity * unit_price_amount::DECIMAL(19, 2),
        0
      )
    ) AS total_revenue_amount,
    @money(
      IFF(reject_reasons IS NULL AND deleted_at IS NULL, quantity * unit_discount_amount, 0)
    ) AS total_discount_amount
  FROM validated
), previous AS (
  SELECT
    sales.order_id,
    sales.product_id,
    sales.order_date,
    sales.previous_order_date,
    sales._loaded_at
  FROM intermediate.int_retail__sales_validated AS sales
  WHERE
    @is_incremental() AND @is_affected(sales.order_id) AND sales.recency_rank = 1
)
SELECT
  lines.order_id::BIGINT AS order_id, /* Order */
  lines.product_id::BIGINT AS product_id, /* Product */
  lines.recency_rank::INT AS recency_rank, /* 1 for the newest row of a key, then 2, 3 … */
  lines.customer_id::BIGINT AS customer_id, /* Customer */
  lines.customer_name::VARCHAR AS customer_name, /* Name of the customer */
  lines.product_name::VARCHAR AS product_name, /* Name of the product */
  lines.product_category::VARCHAR AS product_category, /* Category of the product */
  lines.city::VARCHAR AS city, /* Ship-to city */
  lines.province::VARCHAR AS province, /* Province or state of the city */
  lines.country::VARCHAR AS country, /* Country of the province or state */
  locations.location_id::VARCHAR AS location_id, /* Ship-to location */
  lines.quantity::INT AS quantity, /* Units sold */
  lines.unit_price_amount::DECIMAL(18, 2) AS unit_price_amount, /* Price per unit in USD */
  lines.discount_rate::DECIMAL(9, 4) AS discount_rate, /* Discount as a rate of the unit price */
  lines.total_revenue_amount::DECIMAL(18, 2) AS total_revenue_amount, /* Gross revenue: quantity × unit price, in USD; 0 unless valid */
  lines.total_discount_amount::DECIMAL(18, 2) AS total_discount_amount, /* quantity × unit discount in USD; 0 unless valid */
  (
    lines.total_revenue_amount - lines.total_discount_amount
  )::DECIMAL(18, 2) AS net_revenue_amount, /* Revenue less discount in USD; 0 unless valid */
  lines.shipping_amount::DECIMAL(18, 2) AS shipping_amount, /* Shipping of this line in USD */
  COALESCE(lines.is_valid AND lines.unit_price_amount = 0, FALSE) AS is_free, /* Whether the product was free of charge: a warning, the line counts */
  lines.ordered_at::TIMESTAMPNTZ AS ordered_at, /* When the order was placed, UTC */
  lines.purchased_at::TIMESTAMPNTZ AS purchased_at, /* When the order was paid, UTC */
  lines.order_date::DATE AS order_date, /* Day the order was placed, UTC */
  CASE
    WHEN lines.recency_rank > 1
    THEN NULL
    WHEN previous._loaded_at = lines.latest_loaded_at
    THEN previous.previous_order_date
    ELSE NULLIF(previous.order_date, lines.order_date)
  END::DATE AS previous_order_date, /* Day the order was dated before the newest load, NULL unless that load moved it: a warning, both days are recomputed. A full refresh forgets it */
  NOT lines.deleted_at IS NULL AS is_deleted, /* Whether the line is soft-deleted, which is how the source cancels it */
  lines.reject_reasons::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, NULL if the row is accepted */
  lines.is_valid::BOOLEAN AS is_valid, /* Whether the line is accepted and not soft-deleted */
  lines.updated_at::TIMESTAMPNTZ AS updated_at, /* When the source last wrote the row, UTC */
  lines.latest_loaded_at::TIMESTAMPNTZ AS _loaded_at /* Start of the newest load that affected the line, UTC */
FROM priced AS lines
INNER JOIN locations
  ON lines.city IS NOT DISTINCT FROM locations.city
  AND lines.province IS NOT DISTINCT FROM locations.province
  AND lines.country IS NOT DISTINCT FROM locations.country
LEFT JOIN previous
  ON lines.order_id = previous.order_id AND lines.product_id = previous.product_id
/* In the order of sale: rows of one load are stored together, and a day's or an order's rows are in few row groups. */
ORDER BY
  lines.order_id,
  lines.product_id,
  lines.recency_rank
