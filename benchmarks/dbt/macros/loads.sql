{# The newest load that this incremental table contains; -infinity while it is empty, or it would stay empty. #}
{% macro newest_load() -%}
    (select coalesce(max(_loaded_at), '-infinity'::timestamp) from {{ this }})
{%- endmacro %}
