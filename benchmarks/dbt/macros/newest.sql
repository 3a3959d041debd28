{#
    Of a test: only rows of the newest load, the others were tested when they came. The first loading is everything.
#}
{% macro newest(model, is_limited) %}
    {%- if is_limited -%} _loaded_at = (select max(_loaded_at) from {{ model }}) {%- else -%} true {%- endif -%}
{% endmacro %}
