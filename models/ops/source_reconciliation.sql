MODEL (
  name ops.source_reconciliation,
  kind FULL,
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron '@daily',
  grain (source_table, updated_date),
  tags (
    ops
  ),
  description 'One row per loaded table and day of updated_at, as of the newest `meshflow reconcile` of the table. Answers: does RAW contain the same rows as the source? What became of them in the warehouse? The source and RAW are compared as of counted_at, RAW and the marts as of the run (ops.row_reconciliation). A load between the two may add rows, and an update moves a row to a newer day. So only the counts of one comparison have to agree.',
  audits (
    unique_combination_of_columns(columns := (source_table, updated_date)),
    forall_non_blocking(criteria := is_equal),
    forall_non_blocking(criteria := missing_in_raw_count = 0),
    forall_non_blocking(criteria := missing_in_source_count = 0)
  )
);

WITH counted AS (
  SELECT
    *,
    MAX(counted_at) OVER (PARTITION BY source_table) AS newest_counted_at
  FROM staging.stg_loader__reconciliations
)
SELECT
  counted.source_table::VARCHAR AS source_table, /* Loaded table */
  counted.updated_date::DATE AS updated_date, /* Day the source last wrote the rows, UTC */
  counted.source_count::INT AS source_count, /* Active rows in the source */
  counted.raw_count::INT AS raw_count, /* Active rows in RAW */
  counted.source_deleted_count::INT AS source_deleted_count, /* Soft-deleted rows in the source */
  counted.raw_deleted_count::INT AS raw_deleted_count, /* Soft-deleted rows in RAW; more than in the source if it has hard-deleted some */
  COALESCE(
    counted.source_count = counted.raw_count
    AND counted.source_checksum = counted.raw_checksum,
    FALSE
  )::BOOLEAN AS is_equal, /* Whether the active rows in the source and in RAW are equal: counts and checksums agree */
  counted.missing_in_raw_count::INT AS missing_in_raw_count, /* Keys of active rows in the source that are missing in RAW */
  counted.missing_in_source_count::INT AS missing_in_source_count, /* Keys of active rows in RAW that are missing in the source: hard deletes */
  COALESCE(warehouse.loaded_count, 0)::INT AS loaded_count, /* Rows in RAW now */
  COALESCE(warehouse.accepted_count, 0)::INT AS accepted_count, /* Of these, rows accepted and not soft-deleted */
  COALESCE(warehouse.deleted_count, 0)::INT AS deleted_count, /* Of these, rows accepted and soft-deleted */
  COALESCE(warehouse.rejected_count, 0)::INT AS rejected_count, /* Of these, rows in quarantine */
  COALESCE(warehouse.missing_count, 0)::INT AS missing_count, /* Of these, rows not accounted for */
  counted.counted_at::TIMESTAMPNTZ AS counted_at /* When the source and RAW were counted, UTC */
FROM counted
LEFT JOIN ops.row_reconciliation AS warehouse
  ON counted.source_table = warehouse.source_table
  AND counted.updated_date IS NOT DISTINCT FROM warehouse.updated_date
WHERE
  counted.counted_at = counted.newest_counted_at
