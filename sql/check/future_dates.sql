-- purpose: rows dated after the day they were loaded
-- grain: source
-- units: rows of the source
-- owner: growth data
-- source: all
-- severity: error
-- expected: no row is dated after the day it was loaded
-- needs: ops.loads.loaded_at
with dated as (
    select 'ad_spend' as source, date, _load_id as load_id, count(*) as rows_count from raw.ad_spend group by all
    union all
    select 'kpi' as source, date, _load_id as load_id, count(*) as rows_count from raw.kpi group by all
    union all
    select 'orders' as source, ordered_at::date as date, _load_id as load_id, count(*) as rows_count from raw.orders group by all
    union all
    select 'customers' as source, acquired_at::date as date, _load_id as load_id, count(*) as rows_count from raw.customers group by all
    union all
    select 'clicks' as source, clicked_at::date as date, _load_id as load_id, count(*) as rows_count from raw.clicks group by all
),
judged as (
    select dated.*, dated.date > loads.loaded_at::date + 1 as is_future
    from dated
    inner join ops.loads as loads on loads.source = dated.source and loads.load_id = dated.load_id
),
split as (
    select
        *,
        min(date) filter (where is_future) over by_source as first_future,
        max(date) filter (where not is_future) over by_source as last_past
    from judged
    window by_source as (partition by source)
)
select
    source as subject,
    format('{} rows are dated {} to {}', sum(rows_count), min(date), max(date)) as observed,
    sum(rows_count) as rows
from split
where is_future and (date > $as_of or first_future - last_past > $future_gap_days)
group by source
order by source
