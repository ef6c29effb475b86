select user_id, lower(email) as email, name, github, country, created_at
from {{ source('raw', 'users') }}
where created_at < (select as_of from {{ ref('stg_as_of') }})
