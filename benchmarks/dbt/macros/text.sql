{#
    Text without case, accents and repeated white space: 'Québec', 'QUEBEC ' and 'que\u0301bec' become 'quebec'. White space
    and control characters become single spaces, none at either end; zero-width characters are deleted.
#}
{% macro normalized(text) -%}
    trim(regexp_replace(
        translate(
            strip_accents(lower({{ text }})),
            'øłđħı' || chr(8203) || chr(8204) || chr(8205) || chr(65279),
            'oldhi'
        ),
        '[\pZ\p{Cc}]+', ' ', 'g'
    ), ' ')
{%- endmacro %}

{# Name of a location as the source spells it, without spaces around it; 'Unknown' if missing or blank. #}
{% macro location_name(text) -%}
    case when coalesce({{ normalized(text) }}, '') = '' then 'Unknown' else trim({{ text }}, ' ') end
{%- endmacro %}
