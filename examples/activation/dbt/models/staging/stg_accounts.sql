select account_id, name, domain, seats, created_at
from {{ source('raw', 'accounts') }}
where created_at < (select as_of from {{ ref('stg_as_of') }})
