select
    source_table::varchar as source_table,
    updated_date::date as updated_date,
    source_count::bigint as source_count,
    raw_count::bigint as raw_count,
    source_deleted_count::bigint as source_deleted_count,
    raw_deleted_count::bigint as raw_deleted_count,
    source_checksum::decimal(38, 0) as source_checksum,
    raw_checksum::decimal(38, 0) as raw_checksum,
    missing_in_raw_count::bigint as missing_in_raw_count,
    missing_in_source_count::bigint as missing_in_source_count,
    counted_at::timestamp as counted_at
from {{ source('loader', 'reconciliations') }}
