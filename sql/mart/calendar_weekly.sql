-- purpose: the complete weeks that spend or KPI cover
-- grain: week_start (Monday)
-- units: none
-- owner: growth data
with days as (
    select date from staging.ad_spend
    union
    select date from staging.kpi
),
span as (
    select
        min(date) as first_day,
        date_trunc('week', min(date))::date as first_week,
        date_trunc('week', $as_of::date + 1)::date - 7 as last_week,
        count(*) * 2 > max(date) - min(date) as is_daily
    from days
)
select
    unnest(
        generate_series(
            (first_week + case when is_daily and first_day > first_week then 7 else 0 end)::timestamp,
            last_week::timestamp,
            interval 7 day
        )
    )::date as week_start
from span
where first_week is not null
order by week_start
