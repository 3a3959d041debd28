{{ config(materialized='table') }}

select
    source_table::varchar as source_table,
    row_key::varchar as row_key,
    reject_reasons::varchar as reject_reasons,
    rejected_at::timestamp as rejected_at
from {{ source('loader', 'rejected_rows') }}
