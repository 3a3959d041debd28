AUDIT (
  name rows_are_conserved,
  dialect snowflake,
  defaults (
    since = '1970-01-01'::TIMESTAMPNTZ
  )
);

/* landed = accepted + quarantined: no row is lost or doubled between staging and the verdict. Key by key for what landed
since then; of older keys it is counted that as many rows stand here as there, and reported as one row without a key.
Keys that landed again after the model was written are left to the next run. */
WITH suspects AS (
  SELECT
    @EACH(@key, column -> column)
  FROM (
    SELECT
      @EACH(@key, column -> column),
      1 AS difference
    FROM @landed
    WHERE
      _landed_at >= @since
    UNION ALL
    SELECT
      @EACH(@key, column -> column),
      -1 AS difference
    FROM @this_model
    WHERE
      _landed_at >= @since
  ) AS touched
  GROUP BY
    @EACH(@key, column -> column)
  HAVING
    SUM(difference) <> 0
), counted AS (
  /* Here older copies of the key count too. */
  SELECT
    @EACH(@key, column -> suspects.@column),
    SUM(copies.landed_count) AS landed_rows,
    SUM(copies.judged_count) AS judged_rows,
    MAX(copies._landed_at) AS landed_at
  FROM suspects
  INNER JOIN (
    SELECT
      @EACH(@key, column -> column),
      _landed_at,
      1 AS landed_count,
      0 AS judged_count
    FROM @landed
    UNION ALL
    SELECT
      @EACH(@key, column -> column),
      NULL AS _landed_at,
      0 AS landed_count,
      1 AS judged_count
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
      FROM @landed
    ) - COALESCE(SUM(counted.landed_rows), 0) AS landed_rows,
    (
      SELECT
        COUNT(*)
      FROM @this_model
    ) - COALESCE(SUM(counted.judged_rows), 0) AS judged_rows
  FROM counted
)
SELECT
  *,
  'Landed rows are not accepted plus quarantined rows: rows vanished from RAW or were judged twice; restate the model, then look for who deletes in RAW' AS problem
FROM (
  SELECT
    @EACH(@key, column -> column),
    landed_rows,
    judged_rows
  FROM counted
  WHERE
    landed_at IS NULL
    OR landed_at <= (
      SELECT
        COALESCE(MAX(_landed_at), '9999-12-31'::TIMESTAMPNTZ)
      FROM @this_model
    )
  UNION ALL
  SELECT
    @EACH(@key, column -> NULL AS @column),
    landed_rows,
    judged_rows
  FROM others
) AS found
WHERE
  landed_rows <> judged_rows
