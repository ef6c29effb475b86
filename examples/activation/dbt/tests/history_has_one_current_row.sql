-- In each history, a key has exactly one row that is valid now, and it is the row of the mart.
{% for table, key in [('users', 'user_id'), ('workspaces', 'workspace_id'), ('accounts', 'account_id')] %}
select '{{ table }}' as history, mart.{{ key }} as found_key
from {{ ref(table) }} as mart
left join {{ ref(table ~ '_history') }} as history
  on mart.{{ key }} = history.{{ key }} and history.dbt_valid_to is null
group by mart.{{ key }}
having count(history.{{ key }}) <> 1 or max(abs(mart.score - history.score)) > 0.0001
{{ 'union all' if not loop.last }}
{% endfor %}
