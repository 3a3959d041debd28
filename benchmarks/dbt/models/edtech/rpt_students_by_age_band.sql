with bands as (
    select
        age_band,
        age_from,
        lead(age_from) over (order by age_from) as next_age_from
    from {{ ref('ref_age_band') }}
)

select
    coalesce(bands.age_band, 'Unknown')::varchar as age_band,
    bands.age_from::int as age_from,
    count(*)::int as student_count
from {{ ref('dim_student') }} as students
left join bands
    on students.age_years >= bands.age_from
    and (students.age_years < bands.next_age_from or bands.next_age_from is null)
group by bands.age_band, bands.age_from
