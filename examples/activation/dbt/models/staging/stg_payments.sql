select payment_id, workspace_id, account_id, plan, amount_usd, paid_at
from {{ source('raw', 'payments') }}
where paid_at < (select as_of from {{ ref('stg_as_of') }})
