with events as (
  select stg_events.*, stg_workspaces.account_id
  from {{ ref('stg_events') }} as stg_events
  inner join {{ ref('stg_workspaces') }} as stg_workspaces
    on stg_events.workspace_id = stg_workspaces.workspace_id
)

{{ counted_events('account_id', 'events') }}
