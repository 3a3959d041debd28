AUDIT (
  name relationships,
  dialect snowflake,
  defaults (
    condition = TRUE
  )
);

/* Every key in the column stands in the column of the parent. */
SELECT
  children.@column AS missing_key,
  COUNT(*) AS row_count,
  'A key points at no row of the parent: reject such rows upstream, or find out why the parent lost its row' AS problem
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
