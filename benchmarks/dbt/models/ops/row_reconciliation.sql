{{ config(materialized='table') }}

{% set tables = {
    'edtech.students': [ref('stg_edtech__students'), ref('int_edtech__students_validated')],
    'edtech.courses': [ref('stg_edtech__courses'), ref('int_edtech__courses_validated')],
    'edtech.enrollments': [ref('stg_edtech__enrollments'), ref('int_edtech__enrollments_validated')],
    'retail.sales': [ref('stg_retail__sales'), ref('int_retail__sales_validated')],
} %}

with loaded as (
    {% for source_table, (staged, _) in tables.items() %}
    select
        '{{ source_table }}' as source_table,
        updated_at::date as updated_date
    from {{ staged }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

validated as (
    {% for source_table, (_, validated_rows) in tables.items() %}
    select
        '{{ source_table }}' as source_table,
        updated_at::date as updated_date,
        is_deleted,
        reject_reasons
    from {{ validated_rows }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

loaded_counts as (
    select
        source_table,
        updated_date,
        count(*) as loaded_count
    from loaded
    group by source_table, updated_date
),

validated_counts as (
    select
        source_table,
        updated_date,
        count(*) filter (reject_reasons is null and not is_deleted) as accepted_count,
        count(*) filter (reject_reasons is null and is_deleted) as deleted_count,
        count(*) filter (reject_reasons is not null) as rejected_count
    from validated
    group by source_table, updated_date
)

select
    coalesce(loaded_counts.source_table, validated_counts.source_table)::varchar as source_table,
    coalesce(loaded_counts.updated_date, validated_counts.updated_date)::date as updated_date,
    coalesce(loaded_counts.loaded_count, 0)::int as loaded_count,
    coalesce(validated_counts.accepted_count, 0)::int as accepted_count,
    coalesce(validated_counts.deleted_count, 0)::int as deleted_count,
    coalesce(validated_counts.rejected_count, 0)::int as rejected_count,
    (
        coalesce(loaded_counts.loaded_count, 0)
        - coalesce(validated_counts.accepted_count, 0)
        - coalesce(validated_counts.deleted_count, 0)
        - coalesce(validated_counts.rejected_count, 0)
    )::int as missing_count
from loaded_counts
full join validated_counts
    on loaded_counts.source_table = validated_counts.source_table
    and loaded_counts.updated_date is not distinct from validated_counts.updated_date
