{# Up to which landing this incremental table was built; before all time while it is empty, or it would stay so. #}
{% macro newest_landing() -%}
    (select coalesce(max(_landed_at), '-infinity'::timestamp) from {{ this }})
{%- endmacro %}
