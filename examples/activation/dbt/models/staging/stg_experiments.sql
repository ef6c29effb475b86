select experiment, user_id, arm, assigned_at
from {{ source('raw', 'experiments') }}
where assigned_at < (select as_of from {{ ref('stg_as_of') }})
