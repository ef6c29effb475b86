{# Schemas are called what the project says, without the target's name before it: Syncer reads `activation.users`. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ custom_schema_name if custom_schema_name else target.schema }}
{%- endmacro %}
