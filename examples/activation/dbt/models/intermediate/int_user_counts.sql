{{ counted_events('user_id', ref('stg_events')) }}
