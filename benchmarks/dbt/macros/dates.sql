{# The date that ages, statuses and "days since" are relative to: the variable as_of_date, or the current date, UTC. #}
{% macro as_of_date() -%}
    {%- if var('as_of_date', none) -%}
    date '{{ var("as_of_date") }}'
    {%- else -%}
    (current_timestamp at time zone 'UTC')::date
    {%- endif -%}
{%- endmacro %}

{# Completed years between two dates. In common years 29 February has its anniversary on 1 March. #}
{% macro completed_years(since, until) -%}
    (
        year({{ until }}) - year({{ since }})
        - (month({{ until }}) * 100 + day({{ until }}) < month({{ since }}) * 100 + day({{ since }}))::int
    )
{%- endmacro %}

{# Status of a course; its first and its last day are 'Ongoing'. #}
{% macro course_status(start_date, end_date, as_of) -%}
    case
        when {{ as_of }} < {{ start_date }} then 'Yet to Start'
        when {{ as_of }} <= {{ end_date }} then 'Ongoing'
        else 'Ended'
    end
{%- endmacro %}
