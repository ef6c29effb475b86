with counts as (
  select
    accounts.account_id,
    counts.usage_days,
    counts.usage_weeks,
    counts.usage_runs,
    counts.usage_flows,
    1 as milestone_workspace,
    counts.milestone_flow,
    counts.milestone_deployment,
    counts.milestone_schedule,
    counts.milestone_queue,
    counts.milestone_automation,
    counts.milestone_collaborator,
    counts.milestone_key
  from {{ ref('stg_accounts') }} as accounts
  left join {{ ref('int_account_counts') }} as counts on accounts.account_id = counts.account_id
),

parts as (
  select
    counts.account_id,
    {{ subcomponents('account', 'counts', 'weights') }}
  from counts
  cross join {{ ref('int_weights') }} as weights
)

select
  accounts.account_id,
  accounts.name,
  accounts.domain,
  accounts.seats,
  coalesce(plans.plan, 'free') as plan,
  {{ scores('parts', 'weights', 'night.as_of') }}
from {{ ref('stg_accounts') }} as accounts
inner join parts on accounts.account_id = parts.account_id
left join {{ ref('int_plans') }} as plans on accounts.account_id = plans.account_id
cross join {{ ref('int_weights') }} as weights
cross join {{ ref('stg_as_of') }} as night
