{{ config(tags='daily') }}

with days as (
    select unnest(generate_series(date '1990-01-01', date '2099-12-31', interval 1 day))::date as date_day
)

select
    date_day,
    year(date_day)::int as year_number,
    quarter(date_day)::int as quarter_number,
    month(date_day)::int as month_number,
    date_trunc('month', date_day)::date as month_start_date,
    isodow(date_day)::int as iso_weekday_number,
    isodow(date_day) >= 6 as is_weekend
from days
