-- The workspace that each user joined first.
select user_id, workspace_id
from {{ ref('stg_memberships') }}
qualify row_number() over (partition by user_id order by joined_at, workspace_id) = 1
