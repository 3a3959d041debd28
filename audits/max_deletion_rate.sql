AUDIT (
  name max_deletion_rate,
  dialect snowflake,
  defaults (
    min_rows = 100
  )
);

/* Of the rows that were active, at most max_rate have arrived as soft-deleted in the last seven days of loads. A table with fewer than min_rows such rows passes.
The load counts, not updated_at: `meshflow reconcile --repair` marks rows that the source has not written. Seven days, because a run that fails must not pass as soon as the day is over.
Where most active rows have arrived in these days, in a first or a full load, arrival is not evidence of a deletion. Then the row's own times count. */
SELECT
  *
FROM (
  SELECT
    active_count,
    IFF(
      2 * newly_loaded_count > active_count,
      recently_deleted_count,
      newly_loaded_deleted_count
    ) AS newly_deleted_count
  FROM (
    SELECT
      COALESCE(COUNT_IF(deleted_at IS NULL), 0) AS active_count,
      COALESCE(COUNT_IF(deleted_at IS NULL AND _loaded_at >= first_loaded_at), 0) AS newly_loaded_count,
      COALESCE(COUNT_IF(NOT deleted_at IS NULL AND _loaded_at >= first_loaded_at), 0) AS newly_loaded_deleted_count,
      COALESCE(
        COUNT_IF(
          NOT deleted_at IS NULL
          AND _loaded_at >= first_loaded_at
          AND (
            deleted_at >= first_loaded_at OR updated_at >= first_loaded_at
          )
        ),
        0
      ) AS recently_deleted_count
    FROM @this_model
    CROSS JOIN (
      SELECT
        DATEADD(DAY, -7, MAX(_loaded_at))::TIMESTAMPNTZ AS first_loaded_at
      FROM @this_model
    ) AS newest
  ) AS loads
) AS counts
WHERE
  newly_deleted_count > @max_rate * (
    active_count + newly_deleted_count
  )
  AND active_count + newly_deleted_count >= @min_rows
