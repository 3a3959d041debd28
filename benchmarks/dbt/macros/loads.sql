{# Up to which loading this incremental table was built; before all time while it is empty, or it would stay so. #}
{% macro newest_load() -%}
    (select coalesce(max(_loaded_at), '-infinity'::timestamp) from {{ this }})
{%- endmacro %}
