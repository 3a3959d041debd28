AUDIT (
  name never_changes,
  dialect snowflake,
  defaults (
    condition = TRUE
  )
);

/* The column still holds the value it had when the row was first seen. */
SELECT
  *,
  'A value changed that never may, so sums of its old value are stale: set it back in the application; to move a sale, delete the line under its old date and enter a new one' AS problem
FROM @this_model
WHERE
  @condition AND NOT @first_value IS NULL AND @column IS DISTINCT FROM @first_value
