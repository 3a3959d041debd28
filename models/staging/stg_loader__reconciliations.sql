MODEL (
  name staging.stg_loader__reconciliations,
  kind VIEW,
  owner data_platform,
  cron '@daily',
  tags (loader, staging),
  description 'One row per loaded table, day of updated_at and reconciliation of the source with RAW, with cast columns.',
  signals (
    reconciled(gateway := @gateway)
  )
);

SELECT
  source_table::VARCHAR AS source_table, /* Loaded table, as schema.table */
  updated_date::DATE AS updated_date, /* Day the source last wrote the rows, UTC */
  source_count::BIGINT AS source_count, /* Active rows in the source, those without deleted_at */
  raw_count::BIGINT AS raw_count, /* Active rows in RAW */
  source_deleted_count::BIGINT AS source_deleted_count, /* Soft-deleted rows in the source */
  raw_deleted_count::BIGINT AS raw_deleted_count, /* Soft-deleted rows in RAW */
  source_checksum::DECIMAL(38, 0) AS source_checksum, /* Sum of a hash over all columns of each active row in the source */
  raw_checksum::DECIMAL(38, 0) AS raw_checksum, /* Sum of the same hash over the active rows in RAW */
  missing_in_raw_count::BIGINT AS missing_in_raw_count, /* Keys of active rows in the source that are missing in RAW */
  missing_in_source_count::BIGINT AS missing_in_source_count, /* Keys of active rows in RAW that are missing in the source: hard deletes */
  counted_at::TIMESTAMPNTZ AS counted_at /* Start of the reconciliation, UTC */
FROM raw.loader.reconciliations
