select workspace_id, account_id, name, created_at
from {{ source('raw', 'workspaces') }}
where created_at < (select as_of from {{ ref('stg_as_of') }})
