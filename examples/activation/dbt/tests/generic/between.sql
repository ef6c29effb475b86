{# No value is null or outside of low to high. #}
{% test between(model, column_name, low, high) %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} is null or {{ column_name }} < {{ low }} or {{ column_name }} > {{ high }}
{% endtest %}
