{% set quarantines = {
    'edtech.students': ref('edtech_student'),
    'edtech.courses': ref('edtech_course'),
    'edtech.enrollments': ref('edtech_enrollment'),
    'retail.sales': ref('retail_sales'),
} %}

with rejected as (
    {% for source_table, quarantine in quarantines.items() %}
    select
        '{{ source_table }}' as source_table,
        updated_at::date as updated_date,
        reject_reasons,
        count(*) as row_count
    from {{ quarantine }}
    group by all
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    rejected.source_table::varchar as source_table,
    rejected.updated_date::date as updated_date,
    reasons.reject_reason::varchar as reject_reason,
    reasons.remedy::varchar as remedy,
    sum(rejected.row_count)::int as rejected_count
from rejected
left join {{ ref('ref_reject_reason') }} as reasons
    on rejected.source_table = reasons.source_table
    and (', ' || rejected.reject_reasons || ',') like ('%, ' || reasons.reject_reason || ',%')
group by rejected.source_table, rejected.updated_date, reasons.reject_reason, reasons.remedy
