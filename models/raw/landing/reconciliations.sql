MODEL (
  name raw.landing.reconciliations,
  kind SEED (
    path '$root/seeds/landing/reconciliations.csv'
  ),
  owner data_platform,
  cron @cadence,
  tags (landing, raw),
  description 'One row per landed table, day of updated_at and reconciliation of the source with RAW, both counted at one moment. Sample data, made by `meshflow sample`; on the other gateways `meshflow reconcile` writes this table.',
  columns (
    source_table VARCHAR,
    updated_date DATE,
    source_count BIGINT,
    raw_count BIGINT,
    source_deleted_count BIGINT,
    raw_deleted_count BIGINT,
    source_checksum DECIMAL(38, 0),
    raw_checksum DECIMAL(38, 0),
    unlanded_count BIGINT,
    vanished_count BIGINT,
    counted_at TIMESTAMPNTZ
  ),
  column_descriptions (
    source_table = 'Landed table, as schema.table',
    updated_date = 'Day the application last wrote the rows, UTC',
    source_count = 'Live rows in the source, those without deleted_at',
    raw_count = 'Live rows in RAW',
    source_deleted_count = 'Rows in the source that the application has deleted',
    raw_deleted_count = 'Rows in RAW that the application has deleted',
    source_checksum = 'Sum of a hash over all columns of each live row in the source',
    raw_checksum = 'Sum of the same hash over the live rows in RAW',
    unlanded_count = 'Keys of live rows in the source that RAW lacks',
    vanished_count = 'Keys of live rows in RAW that the source no longer has: hard deletes',
    counted_at = 'Start of the reconciliation, UTC'
  ),
  enabled @IF(@gateway = 'local', TRUE, FALSE)
)
