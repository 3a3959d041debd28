AUDIT (
  name max_deletion_rate,
  dialect snowflake,
  defaults (
    min_rows = 100
  )
);

/* On the newest day of writes, at most max_rate of the rows active before it were soft-deleted. A table with fewer than min_rows such rows passes. */
SELECT
  *
FROM (
  SELECT
    COALESCE(COUNT_IF(NOT is_deleted), 0) AS active_count,
    COALESCE(
      COUNT_IF(is_deleted AND updated_at >= DATEADD(DAY, -1, newest_updated_at)::TIMESTAMPNTZ),
      0
    ) AS newly_deleted_count
  FROM (
    SELECT
      is_deleted,
      updated_at,
      MAX(updated_at) OVER () AS newest_updated_at
    FROM @this_model
  ) AS timed
) AS counts
WHERE
  newly_deleted_count > @max_rate * (
    active_count + newly_deleted_count
  )
  AND active_count + newly_deleted_count >= @min_rows
