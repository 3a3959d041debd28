AUDIT (
  name rows_are_conserved,
  dialect snowflake
);

/* landed = accepted + quarantined, key by key: no row is lost or doubled between staging and the verdict.
Keys that landed again after the model was written are left to the next run. */
SELECT
  @EACH(@key, column -> column),
  SUM(landed_count) AS landed_rows,
  SUM(accepted_count) AS accepted_rows,
  SUM(quarantined_count) AS quarantined_rows,
  'Landed rows are not accepted plus quarantined rows: rows vanished from RAW or were judged twice; restate the model, then look for who deletes in RAW' AS problem
FROM (
  SELECT
    @EACH(@key, column -> column),
    _landed_at,
    1 AS landed_count,
    0 AS accepted_count,
    0 AS quarantined_count
  FROM @landed
  UNION ALL
  SELECT
    @EACH(@key, column -> column),
    NULL AS _landed_at,
    0 AS landed_count,
    IFF(reject_reasons IS NULL, 1, 0) AS accepted_count,
    IFF(reject_reasons IS NULL, 0, 1) AS quarantined_count
  FROM @this_model
) AS counted
GROUP BY
  @EACH(@key, column -> column)
HAVING
  SUM(landed_count) <> SUM(accepted_count) + SUM(quarantined_count)
  AND (
    MAX(_landed_at) IS NULL
    OR MAX(_landed_at) <= (
      SELECT
        COALESCE(MAX(_landed_at), '9999-12-31'::TIMESTAMPNTZ)
      FROM @this_model
    )
  )
