MODEL (
  name raw.loader.rejected_rows,
  kind SEED (
    path '$root/seeds/loader/rejected_rows.csv'
  ),
  owner data_platform,
  cron @cadence,
  tags (loader, raw),
  description 'One row per row of the source that RAW does not have, because a value does not fit the contract. The sample has none. On the other gateways `meshflow load` writes this table.',
  columns (
    source_table VARCHAR,
    row_key VARCHAR,
    reject_reasons VARCHAR,
    rejected_at TIMESTAMPNTZ
  ),
  column_descriptions (
    source_table = 'Loaded table, as schema.table',
    row_key = 'Key of the row, as a JSON list of texts',
    reject_reasons = 'Comma-separated reject reasons, such as unloadable_price',
    rejected_at = 'Start of the load that rejected the row, UTC'
  ),
  enabled @IF(@gateway = 'local', TRUE, FALSE)
)
