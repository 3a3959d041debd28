MODEL (
  name intermediate.int_retail__customer_versions,
  kind INCREMENTAL_UNMANAGED (
    disable_restatement TRUE
  ),
  owner retail_analytics,
  cron @cadence,
  grain (customer_id, _loaded_at),
  tags (retail, intermediate),
  description 'One row per customer and version. A version is appended when its name or location changed, when the customer lost its last valid order line, and when it came back. history.hist_customer shows when each version was valid. RAW has only the newest state, so versions are never computed again: the model is forward-only and cannot be restated. Refresh: incremental (affected keys).',
  signals (
    parents_processed()
  ),
  audits (
    unique_combination_of_columns(columns := (customer_id, _loaded_at), condition := _loaded_at >= @start_dtntz)
  )
);

WITH gone AS (
  SELECT DISTINCT
    versions.customer_id
  FROM intermediate.int_retail__customer_versions AS versions
  LEFT JOIN intermediate.int_retail__customers_derived AS customers
    ON versions.customer_id = customers.customer_id
  WHERE
    customers.customer_id IS NULL
), affected AS (
  /* From the newest load with a version, not after it: a full refresh stamps all customers with one load. */
  SELECT
    customer_id,
    customer_name,
    location_id,
    city,
    province,
    country,
    TRUE AS is_present,
    _loaded_at
  FROM intermediate.int_retail__customers_derived
  WHERE
    _loaded_at >= DATEADD(MICROSECOND, -1, @since())::TIMESTAMPNTZ
  UNION ALL
  SELECT
    customer_id,
    NULL AS customer_name,
    NULL AS location_id,
    NULL AS city,
    NULL AS province,
    NULL AS country,
    FALSE AS is_present,
    (
      SELECT
        MAX(_loaded_at)
      FROM intermediate.int_retail__sales_validated
    ) AS _loaded_at
  FROM gone
), ranked AS (
  SELECT
    versions.customer_id,
    versions.customer_name,
    versions.location_id,
    versions.is_present,
    versions._loaded_at,
    ROW_NUMBER() OVER (PARTITION BY versions.customer_id ORDER BY versions._loaded_at DESC) AS recency_rank
  FROM intermediate.int_retail__customer_versions AS versions
  WHERE
    versions.customer_id IN (
      SELECT
        customer_id
      FROM affected
    )
), latest AS (
  SELECT
    *
  FROM ranked
  WHERE
    recency_rank = 1
)
SELECT
  affected.customer_id::BIGINT AS customer_id, /* Customer */
  IFF(affected.is_present, affected.customer_name, NULL)::VARCHAR AS customer_name, /* Name on the newest order; NULL unless present */
  IFF(affected.is_present, affected.location_id, NULL)::VARCHAR AS location_id, /* Ship-to location of the newest order; NULL unless present */
  IFF(affected.is_present, affected.city, NULL)::VARCHAR AS city, /* City of the newest order; NULL unless present */
  IFF(affected.is_present, affected.province, NULL)::VARCHAR AS province, /* Province or state of the newest order; NULL unless present */
  IFF(affected.is_present, affected.country, NULL)::VARCHAR AS country, /* Country of the newest order; NULL unless present */
  affected.is_present::BOOLEAN AS is_present, /* Whether the customer is in the mart from then on */
  IFF(
    affected._loaded_at > COALESCE(latest._loaded_at, '0001-01-01'::TIMESTAMPNTZ),
    affected._loaded_at,
    GREATEST(@execution_dtntz, DATEADD(MICROSECOND, 1, latest._loaded_at)::TIMESTAMPNTZ)
  ) /* A version without a load, after a change of our rules, begins with the run that finds it: always after the one before. */::TIMESTAMPNTZ AS _loaded_at /* Start of the load that brought the version, UTC */
FROM affected
LEFT JOIN latest
  ON affected.customer_id = latest.customer_id
WHERE
  affected.is_present <> COALESCE(latest.is_present, FALSE)
  OR (
    affected.is_present
    AND (
      affected.customer_name IS DISTINCT FROM latest.customer_name
      OR affected.location_id IS DISTINCT FROM latest.location_id
    )
  )
