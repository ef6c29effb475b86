{# Composite and halves are the weighted means of the row's own subcomponents, counted here once more row by row. #}
{% test composite_is_weighted_mean(model, key) %}
with parts as (
  {%- for component in usage_components() + milestone_components() %}
  select {{ key }}, '{{ component }}' as component, {{ component }} as value from {{ model }}
  {{ 'union all' if not loop.last }}
  {%- endfor %}
),

means as (
  select
    parts.{{ key }},
    sum(parts.value * weights.weight) / sum(weights.weight) as score,
    sum(case when weights.half = 'usage' then parts.value * weights.weight end)
      / sum(case when weights.half = 'usage' then weights.weight end) as usage_score,
    sum(case when weights.half = 'milestone' then parts.value * weights.weight end)
      / sum(case when weights.half = 'milestone' then weights.weight end) as milestone_score
  from parts
  inner join {{ ref('weights') }} as weights on parts.component = weights.component
  group by 1
)

select rows_.{{ key }}
from {{ model }} as rows_
inner join means on rows_.{{ key }} = means.{{ key }}
where abs(rows_.score - means.score) > 0.001
  or abs(rows_.usage_score - means.usage_score) > 0.001
  or abs(rows_.milestone_score - means.milestone_score) > 0.001
{% endtest %}
