AUDIT (
  name odd_rows,
  dialect snowflake,
  blocking FALSE
);

/* Rows that are odd but counted. A warning, never a stop. */
SELECT
  *,
  'Odd but counted: nothing is wrong with the warehouse; ask the owners of the application whether they meant it' AS problem
FROM @this_model
WHERE
  @flag
