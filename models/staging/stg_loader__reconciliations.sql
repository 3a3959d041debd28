MODEL (
  name staging.stg_loader__reconciliations,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (loader, staging),
  description 'One row per loaded table, day of updated_at and reconciliation of the source with RAW, as written, typed.'
);

SELECT
  source_table::VARCHAR AS source_table, /* Loaded table, as schema.table */
  updated_date::DATE AS updated_date, /* Day the source last wrote the rows, UTC */
  source_count::BIGINT AS source_count, /* Live rows in the source, those without deleted_at */
  raw_count::BIGINT AS raw_count, /* Live rows in RAW */
  source_deleted_count::BIGINT AS source_deleted_count, /* Rows in the source that the source has deleted */
  raw_deleted_count::BIGINT AS raw_deleted_count, /* Rows in RAW that the source has deleted */
  source_checksum::DECIMAL(38, 0) AS source_checksum, /* Sum of a hash over all columns of each live row in the source */
  raw_checksum::DECIMAL(38, 0) AS raw_checksum, /* Sum of the same hash over the live rows in RAW */
  missing_in_raw_count::BIGINT AS missing_in_raw_count, /* Keys of live rows in the source that RAW lacks */
  missing_in_source_count::BIGINT AS missing_in_source_count, /* Keys of live rows in RAW that the source no longer has: hard deletes */
  counted_at::TIMESTAMPNTZ AS counted_at /* Start of the reconciliation, UTC */
FROM raw.loader.reconciliations
