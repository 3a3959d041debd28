AUDIT (
  name totals_reconcile,
  dialect snowflake,
  defaults (
    against_measures = @measures
  )
);

/* Sums of the measures equal those of another table, group by group and to the cent; against_measures if they are called otherwise there. A group that is all zero may be missing on either side. */
WITH here AS (
  SELECT
    @EACH(@by, column -> column),
    @EACH(@measures, measure -> SUM(measure))
  FROM @this_model
  GROUP BY
    @EACH(@by, column -> column)
  HAVING
    @REDUCE(@EACH(@measures, measure -> SUM(measure) <> 0), (one, other) -> one OR other)
), there AS (
  SELECT
    @EACH(@by, column -> column),
    @EACH(@against_measures, measure -> SUM(measure))
  FROM @against
  GROUP BY
    @EACH(@by, column -> column)
  HAVING
    @REDUCE(
      @EACH(@against_measures, measure -> SUM(measure) <> 0),
      (one, other) -> one OR other
    )
)
SELECT
  *,
  'Totals differ between this table and the one it is checked against: a group was not recomputed; restate this model for the days shown' AS problem
FROM (
  (
    SELECT
      *
    FROM here
    EXCEPT
    SELECT
      *
    FROM there
  )
  UNION ALL
  (
    SELECT
      *
    FROM there
    EXCEPT
    SELECT
      *
    FROM here
  )
) AS differing
