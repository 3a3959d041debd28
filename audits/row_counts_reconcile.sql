AUDIT (
  name row_counts_reconcile,
  dialect snowflake,
  defaults (
    since = '1970-01-01'::TIMESTAMPNTZ
  )
);

/* loaded = accepted + rejected: validation neither loses nor duplicates a row of staging, the table to compare against.
Keys loaded at or after since are compared one by one. The other keys are compared by their total count, and reported as one row without a key.
Keys loaded again after the model was written are left to the next run.
NULL equals NULL: keys are compared as texts, which every engine hashes. For IS NOT DISTINCT FROM, Snowflake may compare each row with each other row. */
WITH mismatches AS (
  SELECT
    @EACH(@key, column -> column)
  FROM (
    SELECT
      @EACH(@key, column -> column),
      1 AS difference
    FROM @against
    WHERE
      _loaded_at >= @since
    UNION ALL
    SELECT
      @EACH(@key, column -> column),
      -1 AS difference
    FROM @this_model
    WHERE
      _loaded_at >= @since
  ) AS recent
  GROUP BY
    @EACH(@key, column -> column)
  HAVING
    SUM(difference) <> 0
), key_counts AS (
  /* All rows of the key, including those loaded before. */
  SELECT
    @EACH(@key, column -> mismatches.@column),
    SUM(all_rows.loaded_count) AS loaded_count,
    SUM(all_rows.validated_count) AS validated_count,
    MAX(all_rows._loaded_at) AS last_loaded_at
  FROM mismatches
  INNER JOIN (
    SELECT
      @EACH(@key, column -> column),
      _loaded_at,
      1 AS loaded_count,
      0 AS validated_count
    FROM @against
    UNION ALL
    SELECT
      @EACH(@key, column -> column),
      NULL AS _loaded_at,
      0 AS loaded_count,
      1 AS validated_count
    FROM @this_model
  ) AS all_rows
    ON @AND(
      @EACH(
        @key,
        column -> COALESCE('=' || mismatches.@column::VARCHAR, '') = COALESCE('=' || all_rows.@column::VARCHAR, '')
      )
    )
  GROUP BY
    @EACH(@key, column -> mismatches.@column)
), other_counts AS (
  SELECT
    (
      SELECT
        COUNT(*)
      FROM @against
    ) - COALESCE(SUM(key_counts.loaded_count), 0) AS loaded_count,
    (
      SELECT
        COUNT(*)
      FROM @this_model
    ) - COALESCE(SUM(key_counts.validated_count), 0) AS validated_count
  FROM key_counts
)
SELECT
  *
FROM (
  SELECT
    @EACH(@key, column -> column),
    loaded_count,
    validated_count
  FROM key_counts
  WHERE
    last_loaded_at IS NULL
    OR last_loaded_at <= (
      SELECT
        COALESCE(MAX(_loaded_at), '9999-12-31'::TIMESTAMPNTZ)
      FROM @this_model
    )
  UNION ALL
  SELECT
    @EACH(@key, column -> NULL AS @column),
    loaded_count,
    validated_count
  FROM other_counts
) AS counts
WHERE
  loaded_count <> validated_count
