AUDIT (
  name values_are_accepted,
  dialect snowflake
);

/* The column holds nothing but the accepted values, or NULL. */
SELECT
  @column AS unexpected_value,
  COUNT(*) AS row_count,
  'A value stands here that nobody knows: correct the source, or accept it here and wherever it is read' AS problem
FROM @this_model
WHERE
  NOT @column IN (@EACH(@accepted, value -> value))
GROUP BY
  @column
