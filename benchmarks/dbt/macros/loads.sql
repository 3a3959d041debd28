{# Whether a row is of a load that this incremental table doesn't contain yet. A load commits a table in one transaction. #}
{% macro is_new(loaded_at='_loaded_at') -%}
    {{ loaded_at }} > (select coalesce(max(_loaded_at), '-infinity'::timestamp) from {{ this }})
{%- endmacro %}
