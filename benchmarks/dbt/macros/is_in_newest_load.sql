{# In a test: whether a row is of the newest load. Earlier loads were tested before; the first load is all rows. #}
{% macro is_in_newest_load(model, newest_only) %}
    {%- if newest_only -%} _loaded_at = (select max(_loaded_at) from {{ model }}) {%- else -%} true {%- endif -%}
{% endmacro %}
