AUDIT (
  name relationships,
  dialect snowflake
);

/* Every value of the column occurs in parent_column of the parent. NULL passes. */
SELECT
  children.@column AS missing_key,
  COUNT(*) AS row_count
FROM @this_model AS children
LEFT JOIN @parent AS parents
  ON children.@column = parents.@parent_column
WHERE
  NOT children.@column IS NULL AND parents.@parent_column IS NULL
GROUP BY
  children.@column
