-- purpose: weeks whose days are all alike, as when a week's total was spread over its days
-- grain: week_start
-- units: rows are days
-- owner: growth data
-- source: kpi
-- severity: warning
-- expected: the days of each of the last four weeks differ as they did before
-- needs: staging.kpi.value
with weeks as (
    select
        date_trunc('week', date)::date as week_start,
        stddev_pop(value) / avg(value) as spread
    from kpi_daily
    group by all
    having count(*) = 7 and avg(value) > 0
),
numbered as (
    select *, row_number() over (order by week_start desc) as weeks_ago from weeks
),
usual as (
    select median(spread) as spread, count(*) as weeks_count from numbered where weeks_ago > 4
)
select
    week_start::varchar as subject,
    format('its days differ by {:.2f} %, usually by {:.0f} %', 100 * numbered.spread, 100 * usual.spread) as observed,
    7 as rows
from numbered, usual
where
    weeks_ago <= 4
    and weeks_count >= 8
    and usual.spread >= 0.02
    and numbered.spread < $weekday_fraction * usual.spread
order by week_start
