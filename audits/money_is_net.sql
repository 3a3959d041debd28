AUDIT (
  name money_is_net,
  dialect snowflake,
  defaults (
    condition = TRUE
  )
);

/* gross - discount = net on every row for which the condition holds, to the cent, and the discount is not more than the
gross. */
SELECT
  *,
  'Net is not gross less discount: round each amount once, on the line, and subtract rounded amounts' AS problem
FROM @this_model
WHERE
  @condition
  AND (
    @net IS NULL OR @gross - @discount IS DISTINCT FROM @net OR @discount > @gross
  )
