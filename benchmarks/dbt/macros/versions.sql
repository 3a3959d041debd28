{# The latest version of each key in the CTE `current`, from this table. #}
{% macro latest_versions(key) %}
    from {{ this }}
    where {{ key }} in (select {{ key }} from current)
    qualify row_number() over (partition by {{ key }} order by _loaded_at desc) = 1
{% endmacro %}

{#
    A version without a load, after a change of our rules, begins right after the one before. The time of the run would be
    later than the rows of a load that isn't finished, and the next run would miss them.
#}
{% macro version_loaded_at(loaded_at, latest_loaded_at) -%}
    greatest({{ loaded_at }}, {{ latest_loaded_at }} + interval 1 microsecond)
{%- endmacro %}

{#
    When a version began: when the source wrote it. If that was before the load of the version before, or after its own
    load, it began with its own load. So each version begins after the one before.
#}
{% macro valid_from(updated_at, previous_loaded_at, loaded_at) -%}
    case
        when {{ updated_at }} > coalesce({{ previous_loaded_at }}, '-infinity'::timestamp)
            then least({{ updated_at }}, {{ loaded_at }})
        else {{ loaded_at }}
    end
{%- endmacro %}
