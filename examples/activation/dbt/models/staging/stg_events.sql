-- Events up to the moment of the scores, and how many whole days before it each of them was.
select
  events.event_id,
  events.occurred_at,
  events.event,
  events.user_id,
  events.workspace_id,
  events.object_id,
  events.task_runs,
  {{ days_between('events.occurred_at', 'night.as_of') }} as days_ago
from {{ source('raw', 'events') }} as events
cross join {{ ref('stg_as_of') }} as night
where events.occurred_at < night.as_of
