select
    source_table::varchar as source_table,
    row_count::int as row_count,
    active_row_count::int as active_row_count,
    last_updated_at::timestamp as last_updated_at,
    last_loaded_at::timestamp as last_loaded_at,
    date_diff('day', last_loaded_at::date, {{ as_of_date() }})::int as days_since_loaded
from {{ ref('int_sources__tables_counted') }}
