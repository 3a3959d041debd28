MODEL (
  name intermediate.int_retail__customers_derived,
  kind CUSTOM (
    materialization 'replace_by_key',
    materialization_properties (key = customer_id, row_exists = NOT newest_order_id IS NULL)
  ),
  owner retail_analytics,
  cron @cadence,
  grain customer_id,
  references location_id,
  tags (retail, intermediate),
  description 'One row per customer with a valid order line. The source has no table of customers: name and location are those of the newest order. Refresh: incremental (affected keys). A customer is affected by a line that was loaded, and by one that has left, which is the reason for keeping the oldest and the newest order.',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := customer_id, condition := _loaded_at >= @start_dtntz)
  )
);

WITH changed AS (
  SELECT
    order_id,
    customer_id,
    _loaded_at
  FROM intermediate.int_retail__sales_validated
  WHERE
    @is_incremental() AND _loaded_at >= @since()
), affected AS (
  SELECT
    customer_id,
    MAX(_loaded_at) AS _loaded_at
  FROM (
    SELECT
      customer_id,
      _loaded_at
    FROM changed
    UNION ALL
    /* The line may belong to another customer now. Only the oldest and the newest order of a customer matter. */
    SELECT
      previous.customer_id,
      changed._loaded_at
    FROM intermediate.int_retail__customers_derived AS previous
    INNER JOIN changed
      ON previous.newest_order_id = changed.order_id
    UNION ALL
    SELECT
      previous.customer_id,
      changed._loaded_at
    FROM intermediate.int_retail__customers_derived AS previous
    INNER JOIN changed
      ON previous.oldest_order_id = changed.order_id
  ) AS changes
  WHERE
    NOT customer_id IS NULL
  GROUP BY
    customer_id
), newest_load AS (
  SELECT
    MAX(_loaded_at) AS _loaded_at
  FROM intermediate.int_retail__sales_validated
), sold AS (
  SELECT
    customer_id,
    MAX(ordered_at) AS newest_ordered_at,
    MIN(ordered_at) AS oldest_ordered_at
  FROM intermediate.int_retail__sales_validated
  WHERE
    is_valid AND @is_affected(customer_id)
  GROUP BY
    customer_id
), oldest AS (
  SELECT
    lines.customer_id,
    MIN(lines.order_id) AS order_id
  FROM intermediate.int_retail__sales_validated AS lines
  INNER JOIN sold
    ON lines.customer_id = sold.customer_id
    AND lines.ordered_at = sold.oldest_ordered_at
  WHERE
    lines.is_valid
  GROUP BY
    lines.customer_id
), newest AS (
  SELECT
    lines.*,
    ROW_NUMBER() OVER (
      PARTITION BY lines.customer_id
      ORDER BY lines.order_id DESC, lines.product_id DESC
    ) AS newness_rank
  FROM intermediate.int_retail__sales_validated AS lines
  INNER JOIN sold
    ON lines.customer_id = sold.customer_id
    AND lines.ordered_at = sold.newest_ordered_at
  WHERE
    lines.is_valid
), gone AS (
  SELECT
    previous.customer_id
  FROM intermediate.int_retail__customers_derived AS previous
  LEFT JOIN sold
    ON previous.customer_id = sold.customer_id
  WHERE
    @is_incremental()
    AND @is_affected(previous.customer_id)
    AND sold.customer_id IS NULL
)
SELECT
  newest.customer_id::BIGINT AS customer_id, /* Customer */
  newest.customer_name::VARCHAR AS customer_name, /* Name on the newest order */
  newest.location_id::VARCHAR AS location_id, /* Ship-to location of the newest order */
  @location_name(newest.city)::VARCHAR AS city, /* City of the newest order, 'Unknown' if missing */
  @location_name(newest.province)::VARCHAR AS province, /* Province or state of the newest order likewise */
  @location_name(newest.country)::VARCHAR AS country, /* Country of the newest order likewise */
  sold.oldest_ordered_at::DATE AS first_order_date, /* Day of the first order */
  newest.order_date::DATE AS last_order_date, /* Day of the newest order */
  oldest.order_id::BIGINT AS oldest_order_id, /* First order */
  newest.order_id::BIGINT AS newest_order_id, /* Newest order */
  COALESCE(affected._loaded_at, newest_load._loaded_at)::TIMESTAMPNTZ AS _loaded_at /* Start of the newest load that affected the customer, UTC; after a full refresh, of the newest load */
FROM newest
INNER JOIN sold
  ON newest.customer_id = sold.customer_id
INNER JOIN oldest
  ON newest.customer_id = oldest.customer_id
LEFT JOIN affected
  ON newest.customer_id = affected.customer_id
CROSS JOIN newest_load
WHERE
  newest.newness_rank = 1
UNION ALL
/* Without an order: their rows are removed. */
SELECT
  customer_id,
  NULL::VARCHAR AS customer_name,
  NULL::VARCHAR AS location_id,
  NULL::VARCHAR AS city,
  NULL::VARCHAR AS province,
  NULL::VARCHAR AS country,
  NULL::DATE AS first_order_date,
  NULL::DATE AS last_order_date,
  NULL::BIGINT AS oldest_order_id,
  NULL::BIGINT AS newest_order_id,
  NULL::TIMESTAMPNTZ AS _loaded_at
FROM gone
