AUDIT (
  name grain_is_unique,
  dialect snowflake,
  defaults (
    condition = TRUE
  )
);

/* One row per key: no combination of the columns occurs twice, in the rows for which the condition holds. */
SELECT
  @EACH(@columns, column -> column),
  COUNT(*) AS row_count,
  'Several rows share one key: find the join that repeats rows, or correct the grain in the MODEL header' AS problem
FROM @this_model
WHERE
  @condition
GROUP BY
  @EACH(@columns, column -> column)
HAVING
  COUNT(*) > 1
