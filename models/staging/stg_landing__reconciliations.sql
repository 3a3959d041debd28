MODEL (
  name staging.stg_landing__reconciliations,
  kind VIEW,
  owner data_platform,
  cron @cadence,
  tags (landing, staging),
  description 'One row per landed table, day of updated_at and reconciliation of the source with RAW, as written, typed.'
);

SELECT
  source_table::VARCHAR AS source_table, /* Landed table, as schema.table */
  updated_date::DATE AS updated_date, /* Day the application last wrote the rows, UTC */
  source_count::BIGINT AS source_count, /* Live rows in the source, those without deleted_at */
  raw_count::BIGINT AS raw_count, /* Live rows in RAW */
  source_deleted_count::BIGINT AS source_deleted_count, /* Rows in the source that the application has deleted */
  raw_deleted_count::BIGINT AS raw_deleted_count, /* Rows in RAW that the application has deleted */
  source_checksum::DECIMAL(38, 0) AS source_checksum, /* Sum of a hash over all columns of each live row in the source */
  raw_checksum::DECIMAL(38, 0) AS raw_checksum, /* Sum of the same hash over the live rows in RAW */
  unlanded_count::BIGINT AS unlanded_count, /* Keys of live rows in the source that RAW lacks */
  vanished_count::BIGINT AS vanished_count, /* Keys of live rows in RAW that the source no longer has: hard deletes */
  counted_at::TIMESTAMPNTZ AS counted_at /* Start of the reconciliation, UTC */
FROM raw.landing.reconciliations
