AUDIT (
  name scd2_no_overlaps,
  dialect snowflake
);

/* Versions of one key never overlap, none ends before it begins, and at most the last one is open. */
SELECT
  *,
  'Versions overlap, run backwards or are open twice: two rows with one key reached the history; make the query of the model give one row per key, then delete the wrong versions by hand' AS problem
FROM (
  SELECT
    @key,
    valid_from,
    valid_to,
    LEAD(valid_from) OVER (PARTITION BY @key ORDER BY valid_from, valid_to) AS next_valid_from,
    COUNT_IF(valid_to IS NULL) OVER (PARTITION BY @key) AS open_count
  FROM @this_model
) AS versions
WHERE
  valid_to < valid_from
  OR open_count > 1
  OR (
    NOT next_valid_from IS NULL
    AND COALESCE(valid_to, '9999-12-31'::TIMESTAMPNTZ) > next_valid_from
  )
