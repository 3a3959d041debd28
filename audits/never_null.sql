AUDIT (
  name never_null,
  dialect snowflake,
  defaults (
    condition = TRUE
  )
);

/* None of the columns is empty, in the rows for which the condition holds. */
SELECT
  @EACH(@columns, column -> column),
  'A promised value is missing: refuse the row upstream with a reject reason, or give it a value there' AS problem
FROM @this_model
WHERE
  @condition
  AND (
    @REDUCE(@EACH(@columns, column -> column IS NULL), (one, other) -> one OR other)
  )
