with counts as (
  select
    users.user_id,
    counts.usage_days,
    counts.usage_weeks,
    counts.usage_runs,
    counts.usage_flows,
    case when homes.user_id is null then 0 else 1 end as milestone_workspace,
    counts.milestone_flow,
    counts.milestone_deployment,
    counts.milestone_schedule,
    counts.milestone_queue,
    counts.milestone_automation,
    counts.milestone_collaborator,
    counts.milestone_key
  from {{ ref('stg_users') }} as users
  left join {{ ref('int_user_counts') }} as counts on users.user_id = counts.user_id
  left join {{ ref('int_homes') }} as homes on users.user_id = homes.user_id
),

parts as (
  select
    counts.user_id,
    {{ subcomponents('user', 'counts', 'weights') }}
  from counts
  cross join {{ ref('int_weights') }} as weights
)

select
  users.user_id,
  users.email,
  users.name,
  users.github,
  homes.workspace_id,
  workspaces.account_id,
  coalesce(plans.plan, 'free') as plan,
  users.country,
  coalesce(counts.logins_7d, 0) as logins_7d,
  coalesce(counts.usage_days, 0) > 0 as is_active,
  {{ day_of('users.created_at') }} as signed_up_on,
  {{ scores('parts', 'weights', 'night.as_of') }}
from {{ ref('stg_users') }} as users
inner join parts on users.user_id = parts.user_id
left join {{ ref('int_user_counts') }} as counts on users.user_id = counts.user_id
left join {{ ref('int_homes') }} as homes on users.user_id = homes.user_id
left join {{ ref('stg_workspaces') }} as workspaces on homes.workspace_id = workspaces.workspace_id
left join {{ ref('int_plans') }} as plans on workspaces.account_id = plans.account_id
cross join {{ ref('int_weights') }} as weights
cross join {{ ref('stg_as_of') }} as night
