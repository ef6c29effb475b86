{# The formula, once for users, workspaces and accounts. The numbers in it are in seeds/weights.csv. #}

{% macro usage_components() -%}
  {{ return(['usage_days', 'usage_weeks', 'usage_runs', 'usage_flows']) }}
{%- endmacro %}

{% macro milestone_components() -%}
  {{ return([
    'milestone_workspace', 'milestone_flow', 'milestone_deployment', 'milestone_schedule',
    'milestone_queue', 'milestone_automation', 'milestone_collaborator', 'milestone_key',
  ]) }}
{%- endmacro %}

{#
  Subcomponents of 0 to 100 from counts of the same names. Usage grows up to full marks; runs do so on a logarithmic
  scale, because the tenth run says more than the thousandth. A milestone is reached or not.
#}
{% macro subcomponents(entity, counts, weights) -%}
  {%- for component in usage_components() %}
  {%- set count, full = counts ~ '.' ~ component, weights ~ '.full_' ~ component ~ '_' ~ entity %}
  {%- if component == 'usage_runs' %}
  round(100 * least(1, ln(1 + coalesce({{ count }}, 0)) / ln(1 + {{ full }})), 4) as {{ component }},
  {%- else %}
  round(100 * least(1, coalesce({{ count }}, 0) / {{ full }}), 4) as {{ component }},
  {%- endif %}
  {%- endfor %}
  {%- for component in milestone_components() %}
  {%- set count, full = counts ~ '.' ~ component, weights ~ '.full_' ~ component ~ '_' ~ entity %}
  case when coalesce({{ count }}, 0) >= {{ full }} then 100.0 else 0.0 end as {{ component }}{{ ',' if not loop.last }}
  {%- endfor %}
{%- endmacro %}

{# The weighted mean of components. #}
{% macro weighted_mean(components, values, weights) -%}
  round(cast((
    {%- for component in components %}
    {{ '+ ' if not loop.first }}{{ values }}.{{ component }} * {{ weights }}.weight_{{ component }}
    {%- endfor %}
  ) as {{ number_type() }}) / (
    {%- for component in components %}
    {{- ' + ' if not loop.first }}{{ weights }}.weight_{{ component }}
    {%- endfor -%}
  ), 4)
{%- endmacro %}

{# The columns that every mart has after its own: the composite, its halves, the subcomponents, when, and which formula. #}
{% macro scores(values, weights, moment) -%}
  {{ weighted_mean(usage_components() + milestone_components(), values, weights) }} as score,
  {{ weighted_mean(usage_components(), values, weights) }} as usage_score,
  {{ weighted_mean(milestone_components(), values, weights) }} as milestone_score,
  {%- for component in usage_components() + milestone_components() %}
  cast({{ values }}.{{ component }} as {{ number_type() }}) as {{ component }},
  {%- endfor %}
  {{ moment }} as computed_at,
  {{ weights }}.metric_version
{%- endmacro %}

{# What the subcomponents are made of, counted by `key` over events that have the columns of `stg_events`. #}
{% macro counted_events(key, events) -%}
select
  {{ key }},
  max(occurred_at) as last_event_at,
  count(distinct case when days_ago < 28 then {{ day_of('occurred_at') }} end) as usage_days,
  count(distinct case when days_ago < 28 then cast(floor(days_ago / 7) as {{ whole_type() }}) end) as usage_weeks,
  cast(sum(case when days_ago < 28 and event in ('flow_run', 'scheduled_run') then 1 else 0 end) as {{ whole_type() }}) as usage_runs,
  count(distinct case when days_ago < 28 and event in ('flow_run', 'scheduled_run') then object_id end) as usage_flows,
  cast(sum(case when days_ago < 7 and event = 'logged_in' then 1 else 0 end) as {{ whole_type() }}) as logins_7d,
  cast(sum(case when event = 'flow_created' then 1 else 0 end) as {{ whole_type() }}) as milestone_flow,
  cast(sum(case when event = 'deployment_created' then 1 else 0 end) as {{ whole_type() }}) as milestone_deployment,
  cast(sum(case when event = 'scheduled_run' then 1 else 0 end) as {{ whole_type() }}) as milestone_schedule,
  cast(sum(case when event = 'work_queue_created' then 1 else 0 end) as {{ whole_type() }}) as milestone_queue,
  cast(sum(case when event = 'automation_created' then 1 else 0 end) as {{ whole_type() }}) as milestone_automation,
  cast(sum(case when event = 'collaborator_invited' then 1 else 0 end) as {{ whole_type() }}) as milestone_collaborator,
  cast(sum(case when event = 'api_key_created' then 1 else 0 end) as {{ whole_type() }}) as milestone_key
from {{ events }}
where {{ key }} is not null
group by 1
{%- endmacro %}
