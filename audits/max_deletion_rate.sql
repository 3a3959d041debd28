AUDIT (
  name max_deletion_rate,
  dialect snowflake,
  defaults (
    min_rows = 100
  )
);

/* On the newest day of writes at most this rate of the rows alive before was deleted. Tables of fewer than min_rows are not validated. */
SELECT
  *,
  'A day deleted more rows than is plausible: compare with the source; if it is right, raise max_rate in a reviewed change' AS problem
FROM (
  SELECT
    COALESCE(COUNT_IF(NOT is_deleted), 0) AS live_count,
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
    live_count + newly_deleted_count
  )
  AND live_count + newly_deleted_count >= @min_rows
