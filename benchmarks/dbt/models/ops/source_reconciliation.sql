{{ config(materialized='table') }}

with counted as (
    select *
    from {{ ref('stg_loader__reconciliations') }}
    qualify counted_at = max(counted_at) over (partition by source_table)
)

select
    counted.source_table::varchar as source_table,
    counted.updated_date::date as updated_date,
    counted.source_count::int as source_count,
    counted.raw_count::int as raw_count,
    counted.source_deleted_count::int as source_deleted_count,
    counted.raw_deleted_count::int as raw_deleted_count,
    coalesce(
        counted.source_count = counted.raw_count and counted.source_checksum = counted.raw_checksum,
        false
    ) as is_equal,
    counted.missing_in_raw_count::int as missing_in_raw_count,
    counted.missing_in_source_count::int as missing_in_source_count,
    coalesce(warehouse.loaded_count, 0)::int as loaded_count,
    coalesce(warehouse.accepted_count, 0)::int as accepted_count,
    coalesce(warehouse.deleted_count, 0)::int as deleted_count,
    coalesce(warehouse.rejected_count, 0)::int as rejected_count,
    coalesce(warehouse.missing_count, 0)::int as missing_count,
    counted.counted_at::timestamp as counted_at
from counted
left join {{ ref('row_reconciliation') }} as warehouse
    on counted.source_table = warehouse.source_table and counted.updated_date = warehouse.updated_date
