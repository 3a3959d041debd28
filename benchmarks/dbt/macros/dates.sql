{# The date that ages, statuses and "days since" are relative to: the variable as_of_date, or today, UTC. #}
{% macro as_of_date() -%}
    date '{{ var("as_of_date", none) or run_started_at.strftime("%Y-%m-%d") }}'
{%- endmacro %}

{# Whole years between two dates: the anniversary itself counts, and 29 February on 1 March in common years. #}
{% macro completed_years(since, until) -%}
    (
        year({{ until }}) - year({{ since }})
        - (month({{ until }}) * 100 + day({{ until }}) < month({{ since }}) * 100 + day({{ since }}))::int
    )
{%- endmacro %}

{# The first and the last day are both 'Ongoing'. #}
{% macro course_status(start_date, end_date, as_of) -%}
    case
        when {{ as_of }} < {{ start_date }} then 'Yet to Start'
        when {{ as_of }} <= {{ end_date }} then 'Ongoing'
        else 'Ended'
    end
{%- endmacro %}
