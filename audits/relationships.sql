AUDIT (
  name relationships,
  dialect snowflake,
  defaults (
    condition = TRUE
  )
);

/* Every value of the column occurs in parent_column of the parent. NULL passes. */
SELECT
  children.@column AS missing_key,
  COUNT(*) AS row_count
FROM (
  SELECT
    @column
  FROM @this_model
  WHERE
    @condition
) AS children
LEFT JOIN @parent AS parents
  ON children.@column = parents.@parent_column
WHERE
  NOT children.@column IS NULL AND parents.@parent_column IS NULL
GROUP BY
  children.@column
