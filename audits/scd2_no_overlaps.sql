AUDIT (
  name scd2_no_overlaps,
  dialect snowflake
);

/* Versions of a key do not overlap, none ends before it begins, and only the last one may be current (valid_to is NULL). */
SELECT
  *
FROM (
  SELECT
    @key,
    valid_from,
    valid_to,
    LEAD(valid_from) OVER (PARTITION BY @key ORDER BY valid_from, valid_to) AS next_valid_from,
    COUNT_IF(valid_to IS NULL) OVER (PARTITION BY @key) AS current_count
  FROM @this_model
) AS versions
WHERE
  valid_to < valid_from
  OR current_count > 1
  OR (
    NOT next_valid_from IS NULL
    AND COALESCE(valid_to, '9999-12-31'::TIMESTAMPNTZ) > next_valid_from
  )
