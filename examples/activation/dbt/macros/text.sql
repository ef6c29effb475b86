{# Rows of one column put together to one text, in a stable order. #}
{% macro joined_text(expression, order) -%}
  {{ return(adapter.dispatch('joined_text', 'activation')(expression, order)) }}
{%- endmacro %}
{% macro default__joined_text(expression, order) -%} string_agg({{ expression }}, ';' order by {{ order }}) {%- endmacro %}
