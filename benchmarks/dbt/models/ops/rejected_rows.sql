with rejected as (
    select
        source_table,
        updated_at::date as updated_date,
        reject_reasons,
        count(*) as row_count
    from {{ ref('int_sources__rows_validated') }}
    where reject_reasons is not null
    group by all
),

counted as (
    select
        rejected.source_table,
        rejected.updated_date,
        reasons.reject_reason,
        reasons.remedy,
        rejected.row_count
    from rejected
    left join {{ ref('ref_reject_reason') }} as reasons
        on rejected.source_table = reasons.source_table
        and (', ' || rejected.reject_reasons || ',') like ('%, ' || reasons.reject_reason || ',%')
    union all
    select
        source_table,
        null as updated_date,
        reject_reasons as reject_reason,
        'Correct the values in the source, or the types of the columns in external_models/.' as remedy,
        1 as row_count
    from {{ ref('stg_loader__rejected_rows') }}
)

select
    source_table::varchar as source_table,
    updated_date::date as updated_date,
    reject_reason::varchar as reject_reason,
    remedy::varchar as remedy,
    sum(row_count)::int as rejected_count
from counted
group by all
