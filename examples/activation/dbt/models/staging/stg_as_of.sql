-- The moment that the scores are of: what was asked for, or the one up to which every raw table is complete. A loader
-- that is late makes the scores older, never lower.
select
  {% if var('as_of') %}{{ instant(var('as_of')) }}{% else %}min(complete_until){% endif %} as as_of
{% if not var('as_of') -%}
from {{ source('raw', 'loads') }}
{%- endif %}
