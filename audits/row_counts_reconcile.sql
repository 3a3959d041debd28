AUDIT (
  name row_counts_reconcile,
  dialect snowflake,
  defaults (
    since = '1970-01-01'::TIMESTAMPNTZ
  )
);

/* loaded = accepted + quarantined: no row is lost or doubled between staging and the validation. Key by key for what loaded
since then; of older keys it is counted that as many rows stand here as there, and reported as one row without a key.
Keys that loaded again after the model was written are left to the next run. */
WITH suspects AS (
  SELECT
    @EACH(@key, column -> column)
  FROM (
    SELECT
      @EACH(@key, column -> column),
      1 AS difference
    FROM @loaded
    WHERE
      _loaded_at >= @since
    UNION ALL
    SELECT
      @EACH(@key, column -> column),
      -1 AS difference
    FROM @this_model
    WHERE
      _loaded_at >= @since
  ) AS affected
  GROUP BY
    @EACH(@key, column -> column)
  HAVING
    SUM(difference) <> 0
), counted AS (
  /* Here older copies of the key count too. */
  SELECT
    @EACH(@key, column -> suspects.@column),
    SUM(copies.loaded_count) AS loaded_rows,
    SUM(copies.validated_count) AS validated_rows,
    MAX(copies._loaded_at) AS loaded_at
  FROM suspects
  INNER JOIN (
    SELECT
      @EACH(@key, column -> column),
      _loaded_at,
      1 AS loaded_count,
      0 AS validated_count
    FROM @loaded
    UNION ALL
    SELECT
      @EACH(@key, column -> column),
      NULL AS _loaded_at,
      0 AS loaded_count,
      1 AS validated_count
    FROM @this_model
  ) AS copies
    ON @AND(@EACH(@key, column -> suspects.@column IS NOT DISTINCT FROM copies.@column))
  GROUP BY
    @EACH(@key, column -> suspects.@column)
), others AS (
  SELECT
    (
      SELECT
        COUNT(*)
      FROM @loaded
    ) - COALESCE(SUM(counted.loaded_rows), 0) AS loaded_rows,
    (
      SELECT
        COUNT(*)
      FROM @this_model
    ) - COALESCE(SUM(counted.validated_rows), 0) AS validated_rows
  FROM counted
)
SELECT
  *,
  'Loaded rows are not accepted plus quarantined rows: rows vanished from RAW or were validated twice; restate the model, then look for who deletes in RAW' AS problem
FROM (
  SELECT
    @EACH(@key, column -> column),
    loaded_rows,
    validated_rows
  FROM counted
  WHERE
    loaded_at IS NULL
    OR loaded_at <= (
      SELECT
        COALESCE(MAX(_loaded_at), '9999-12-31'::TIMESTAMPNTZ)
      FROM @this_model
    )
  UNION ALL
  SELECT
    @EACH(@key, column -> NULL AS @column),
    loaded_rows,
    validated_rows
  FROM others
) AS found
WHERE
  loaded_rows <> validated_rows
