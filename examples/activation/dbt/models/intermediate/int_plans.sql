-- What each account pays for: the plan of its last payment, if that was not longer ago than a month and a few days.
select payments.account_id, payments.plan
from {{ ref('stg_payments') }} as payments
cross join {{ ref('stg_as_of') }} as night
where payments.paid_at >= {{ days_before('night.as_of', 35) }}
qualify row_number() over (partition by payments.account_id order by payments.paid_at desc, payments.payment_id) = 1
