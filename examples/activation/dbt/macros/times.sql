{# What DuckDB and BigQuery spell differently about time. An instant is UTC in both. #}

{% macro instant(text) -%}
  {{ return(adapter.dispatch('instant', 'activation')(text)) }}
{%- endmacro %}
{% macro default__instant(text) -%} cast('{{ text }}' as timestamp with time zone) {%- endmacro %}
{% macro bigquery__instant(text) -%} timestamp '{{ text }}' {%- endmacro %}

{% macro day_of(moment) -%}
  {{ return(adapter.dispatch('day_of', 'activation')(moment)) }}
{%- endmacro %}
{% macro default__day_of(moment) -%} cast({{ moment }} at time zone 'UTC' as date) {%- endmacro %}
{% macro bigquery__day_of(moment) -%} date({{ moment }}) {%- endmacro %}

{% macro days_before(moment, days) -%}
  {{ return(adapter.dispatch('days_before', 'activation')(moment, days)) }}
{%- endmacro %}
{% macro default__days_before(moment, days) -%} {{ moment }} - interval {{ days }} day {%- endmacro %}
{% macro bigquery__days_before(moment, days) -%} timestamp_sub({{ moment }}, interval {{ days }} day) {%- endmacro %}

{# Microseconds since 1970. #}
{% macro microseconds(moment) -%}
  {{ return(adapter.dispatch('microseconds', 'activation')(moment)) }}
{%- endmacro %}
{% macro default__microseconds(moment) -%} epoch_us({{ moment }}) {%- endmacro %}
{% macro bigquery__microseconds(moment) -%} unix_micros({{ moment }}) {%- endmacro %}

{# Whole days of 24 hours from one instant to a later one. #}
{% macro days_between(earlier, later) -%}
  cast(floor(({{ microseconds(later) }} - {{ microseconds(earlier) }}) / 86400000000) as {{ whole_type() }})
{%- endmacro %}
