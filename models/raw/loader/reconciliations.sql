MODEL (
  name raw.loader.reconciliations,
  kind SEED (
    path '$root/seeds/loader/reconciliations.csv'
  ),
  owner data_platform,
  cron @cadence,
  tags (loader, raw),
  description 'One row per loaded table, day of updated_at and reconciliation of the source with RAW, both counted at one moment. Sample data, made by `meshflow sample`; on the other gateways `meshflow reconcile` writes this table.',
  columns (
    source_table VARCHAR,
    updated_date DATE,
    source_count BIGINT,
    raw_count BIGINT,
    source_deleted_count BIGINT,
    raw_deleted_count BIGINT,
    source_checksum DECIMAL(38, 0),
    raw_checksum DECIMAL(38, 0),
    missing_in_raw_count BIGINT,
    missing_in_source_count BIGINT,
    counted_at TIMESTAMPNTZ
  ),
  column_descriptions (
    source_table = 'Loaded table, as schema.table',
    updated_date = 'Day the source last wrote the rows, UTC',
    source_count = 'Live rows in the source, those without deleted_at',
    raw_count = 'Live rows in RAW',
    source_deleted_count = 'Rows in the source that the source has deleted',
    raw_deleted_count = 'Rows in RAW that the source has deleted',
    source_checksum = 'Sum of a hash over all columns of each live row in the source',
    raw_checksum = 'Sum of the same hash over the live rows in RAW',
    missing_in_raw_count = 'Keys of live rows in the source that RAW lacks',
    missing_in_source_count = 'Keys of live rows in RAW that the source no longer has: hard deletes',
    counted_at = 'Start of the reconciliation, UTC'
  ),
  enabled @IF(@gateway = 'local', TRUE, FALSE)
)
