-- The seed as one row, and the version of the formula: another number in the seed is another version.
select
  {%- for component in usage_components() + milestone_components() %}
  max(case when component = '{{ component }}' then weight end) as weight_{{ component }},
  {%- for entity in ['user', 'workspace', 'account'] %}
  max(case when component = '{{ component }}' then full_{{ entity }} end) as full_{{ component }}_{{ entity }},
  {%- endfor %}
  {%- endfor %}
  concat('w-', substr({{ dbt.hash(joined_text(dbt.concat([
    'component', "' '", 'cast(weight as ' ~ dbt.type_string() ~ ')',
    "' '", 'cast(full_user as ' ~ dbt.type_string() ~ ')',
    "' '", 'cast(full_workspace as ' ~ dbt.type_string() ~ ')',
    "' '", 'cast(full_account as ' ~ dbt.type_string() ~ ')',
  ]), 'component')) }}, 1, 8)) as metric_version
from {{ ref('weights') }}
