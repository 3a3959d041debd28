{#
    Sums of the measures equal those of another table, per group and to the cent. against_measures are the measures there,
    if they have other names. A group whose sums are all zero may be missing in either table.
#}
{% test totals_reconcile(model, measures, against, by, against_measures=none) %}

with totals as (
    {{ sums_by(model, by, measures) }}
),

against_totals as (
    {{ sums_by(against, by, against_measures or measures) }}
)

(from totals except from against_totals)
union all
(from against_totals except from totals)

{% endtest %}
