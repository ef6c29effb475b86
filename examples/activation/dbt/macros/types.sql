{# Rows of one column put together to one text, in a stable order. #}
{% macro joined_text(expression, order) -%}
  {{ return(adapter.dispatch('joined_text', 'activation')(expression, order)) }}
{%- endmacro %}
{% macro default__joined_text(expression, order) -%} string_agg({{ expression }}, ';' order by {{ order }}) {%- endmacro %}

{# Types, of which dbt's own are narrower in DuckDB (a `float` has seven digits there). #}
{% macro number_type() -%} {{ 'float64' if target.type == 'bigquery' else 'double' }} {%- endmacro %}
{% macro whole_type() -%} {{ 'int64' if target.type == 'bigquery' else 'bigint' }} {%- endmacro %}
