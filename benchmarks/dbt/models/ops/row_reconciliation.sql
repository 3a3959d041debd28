{{ config(materialized='table') }}

with loaded_counts as (
    select
        source_table,
        updated_at::date as updated_date,
        is_validated,
        count(*) as loaded_count
    from {{ ref('int_sources__rows_loaded') }}
    group by all
),

validated_counts as (
    select
        source_table,
        updated_at::date as updated_date,
        count(*) filter (reject_reasons is null and not is_deleted) as accepted_count,
        count(*) filter (reject_reasons is null and is_deleted) as deleted_count,
        count(*) filter (reject_reasons is not null) as rejected_count
    from {{ ref('int_sources__rows_validated') }}
    group by all
)

select
    coalesce(loaded_counts.source_table, validated_counts.source_table)::varchar as source_table,
    coalesce(loaded_counts.updated_date, validated_counts.updated_date)::date as updated_date,
    coalesce(loaded_counts.loaded_count, 0)::int as loaded_count,
    coalesce(validated_counts.accepted_count, 0)::int as accepted_count,
    coalesce(validated_counts.deleted_count, 0)::int as deleted_count,
    coalesce(validated_counts.rejected_count, 0)::int as rejected_count,
    if(
        coalesce(loaded_counts.is_validated, true),
        coalesce(loaded_counts.loaded_count, 0)
        - coalesce(validated_counts.accepted_count, 0)
        - coalesce(validated_counts.deleted_count, 0)
        - coalesce(validated_counts.rejected_count, 0),
        0
    )::int as missing_count
from loaded_counts
full join validated_counts
    on loaded_counts.source_table = validated_counts.source_table
    and loaded_counts.updated_date is not distinct from validated_counts.updated_date
