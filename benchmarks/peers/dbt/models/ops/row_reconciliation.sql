{% set tables = {
    'edtech.students': [ref('stg_edtech__students'), ref('int_edtech__students_checked')],
    'edtech.courses': [ref('stg_edtech__courses'), ref('int_edtech__courses_checked')],
    'edtech.enrollments': [ref('stg_edtech__enrollments'), ref('int_edtech__enrollments_checked')],
    'retail.sales': [ref('stg_retail__sales'), ref('int_retail__sales_checked')],
} %}

with landed as (
    {% for source_table, (staged, _) in tables.items() %}
    select
        '{{ source_table }}' as source_table,
        updated_at::date as updated_date
    from {{ staged }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

checked as (
    {% for source_table, (_, verdicts) in tables.items() %}
    select
        '{{ source_table }}' as source_table,
        updated_at::date as updated_date,
        is_deleted,
        reject_reasons
    from {{ verdicts }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

landed_counts as (
    select
        source_table,
        updated_date,
        count(*) as landed_count
    from landed
    group by source_table, updated_date
),

checked_counts as (
    select
        source_table,
        updated_date,
        count(*) filter (reject_reasons is null and not is_deleted) as accepted_count,
        count(*) filter (reject_reasons is null and is_deleted) as deleted_count,
        count(*) filter (reject_reasons is not null) as refused_count
    from checked
    group by source_table, updated_date
)

select
    coalesce(landed_counts.source_table, checked_counts.source_table)::varchar as source_table,
    coalesce(landed_counts.updated_date, checked_counts.updated_date)::date as updated_date,
    coalesce(landed_counts.landed_count, 0)::int as landed_count,
    coalesce(checked_counts.accepted_count, 0)::int as accepted_count,
    coalesce(checked_counts.deleted_count, 0)::int as deleted_count,
    coalesce(checked_counts.refused_count, 0)::int as refused_count,
    (
        coalesce(landed_counts.landed_count, 0)
        - coalesce(checked_counts.accepted_count, 0)
        - coalesce(checked_counts.deleted_count, 0)
        - coalesce(checked_counts.refused_count, 0)
    )::int as missing_count
from landed_counts
full join checked_counts
    on landed_counts.source_table = checked_counts.source_table
    and landed_counts.updated_date is not distinct from checked_counts.updated_date
