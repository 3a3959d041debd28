AUDIT (
  name totals_reconcile,
  dialect snowflake,
  defaults (
    against_measures = @measures
  )
);

/* Sums of the measures equal those of another table, per group and to the cent. against_measures are the measures there, if they have other names.
A group whose sums are all zero may be missing in either table. */
WITH totals AS (
  SELECT
    @EACH(@by, column -> column),
    @EACH(@measures, measure -> SUM(measure))
  FROM @this_model
  GROUP BY
    @EACH(@by, column -> column)
  HAVING
    @REDUCE(@EACH(@measures, measure -> SUM(measure) <> 0), (one, other) -> one OR other)
), against_totals AS (
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
  *
FROM (
  (
    SELECT
      *
    FROM totals
    EXCEPT
    SELECT
      *
    FROM against_totals
  )
  UNION ALL
  (
    SELECT
      *
    FROM against_totals
    EXCEPT
    SELECT
      *
    FROM totals
  )
) AS differences
