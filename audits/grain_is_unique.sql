AUDIT (
  name grain_is_unique,
  dialect snowflake
);

/* One row per key: no combination of the columns occurs twice. */
SELECT
  @EACH(@columns, column -> column),
  COUNT(*) AS row_count,
  'Several rows share one key: find the join that repeats rows, or correct the grain in the MODEL header' AS problem
FROM @this_model
GROUP BY
  @EACH(@columns, column -> column)
HAVING
  COUNT(*) > 1
