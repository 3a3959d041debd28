MODEL (
  name staging.stg_loader__rejected_rows,
  kind FULL,
  physical_properties (
    creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)
  ),
  owner data_platform,
  cron '@daily',
  tags (loader, staging),
  description 'One row per row of the source that RAW does not have, because a value does not fit the contract. Stored: readers of a copy of the warehouse lack RAW.'
);

SELECT
  source_table::VARCHAR AS source_table, /* Loaded table, as schema.table */
  row_key::VARCHAR AS row_key, /* Key of the row, as a JSON list of texts */
  reject_reasons::VARCHAR AS reject_reasons, /* Comma-separated reject reasons, such as unloadable_price */
  rejected_at::TIMESTAMPNTZ AS rejected_at /* Start of the load that rejected the row, UTC */
FROM raw.loader.rejected_rows
