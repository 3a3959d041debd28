{#
    Incremental strategy: the new rows replace all rows of their keys, in one transaction. Rows without a key are replaced
    every time. `delete+insert`, the adapter's default, keeps both those and the rows of a key that has lost its last row.
    `meta.row_exists` is a condition: a row that fails it only names such a key.
#}
{% macro get_incremental_replace_by_key_sql(arg_dict) %}
    {%- set target, new, key = arg_dict.target_relation, arg_dict.temp_relation, arg_dict.unique_key -%}
    {%- set columns = get_quoted_csv(arg_dict.dest_columns | map(attribute='name')) -%}
    delete from {{ target }} where {{ key }} in (select {{ key }} from {{ new }});
    delete from {{ target }} where {{ key }} is null;
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ new }} where {{ config.get('meta', {}).get('row_exists', 'true') }}
{% endmacro %}
