{# dbt-duckdb's own has no zone, and `computed_at` has one: the times of a history are of one kind. #}
{% macro duckdb__snapshot_get_time() -%} now() {%- endmacro %}
