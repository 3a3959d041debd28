{#
    Sums of the measures equal those of another table, group by group and to the cent; against_measures if they are
    called otherwise there. A group that is all zero may be missing on either side.
#}
{% test totals_reconcile(model, measures, against, by, against_measures=none) %}

with here as (
    {{ sums_by(model, by, measures) }}
),

there as (
    {{ sums_by(against, by, against_measures or measures) }}
)

(from here except from there)
union all
(from there except from here)

{% endtest %}
