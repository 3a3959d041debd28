{# For the test totals_reconcile: sums of the measures per group, without groups whose sums are all zero. #}
{% macro sums_by(relation, by, measures) %}
    select
        {{ by | join(', ') }},
        {%- for measure in measures %}
        sum({{ measure }}) as measure_{{ loop.index }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ relation }}
    group by {{ by | join(', ') }}
    having {% for measure in measures %}sum({{ measure }}) <> 0{{ ' or ' if not loop.last }}{% endfor %}
{% endmacro %}
