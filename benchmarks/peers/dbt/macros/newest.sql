{#
    Of a test: only rows of the newest landing, the others were tested when they came. The first landing is everything.
#}
{% macro newest(model, is_limited) %}
    {%- if is_limited -%} _landed_at = (select max(_landed_at) from {{ model }}) {%- else -%} true {%- endif -%}
{% endmacro %}
