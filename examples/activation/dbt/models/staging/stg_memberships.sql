select workspace_id, user_id, role, joined_at
from {{ source('raw', 'memberships') }}
where joined_at < (select as_of from {{ ref('stg_as_of') }})
