{{ counted_events('workspace_id', ref('stg_events')) }}
