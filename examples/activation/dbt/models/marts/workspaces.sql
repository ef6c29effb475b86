with members as (
  select workspace_id, count(*) as members
  from {{ ref('stg_memberships') }}
  group by 1
),

counts as (
  select
    members.workspace_id,
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
  from members
  left join {{ ref('int_workspace_counts') }} as counts on members.workspace_id = counts.workspace_id
),

parts as (
  select
    counts.workspace_id,
    {{ subcomponents('workspace', 'counts', 'weights') }}
  from counts
  cross join {{ ref('int_weights') }} as weights
)

select
  workspaces.workspace_id,
  concat(accounts.name, ' ', workspaces.name) as name,
  workspaces.account_id,
  members.members,
  {{ scores('parts', 'weights', 'night.as_of') }}
from {{ ref('stg_workspaces') }} as workspaces
inner join members on workspaces.workspace_id = members.workspace_id
inner join parts on workspaces.workspace_id = parts.workspace_id
inner join {{ ref('stg_accounts') }} as accounts on workspaces.account_id = accounts.account_id
cross join {{ ref('int_weights') }} as weights
cross join {{ ref('stg_as_of') }} as night
