-- purpose: the mix model's weekly spend against the lines it was summed from
-- grain: week_start x channel
-- units: company currency; rows are weeks
-- owner: growth data
-- source: mart.spend_weekly
-- severity: error
-- expected: weekly spend per channel is the sum of the lines of ad_spend, to the cent
-- needs: mart.spend_weekly.spend
with summed as (
    select date_trunc('week', date)::date as week_start, channel, sum(cost) as spend
    from spend_daily
    where date_trunc('week', date)::date in (select week_start from mart.calendar_weekly)
    group by all
),
weekly as ( -- a week that is missing, twice there or no amount is for mmm_weeks to tell
    select week_start, channel, any_value(spend) as spend from mart.spend_weekly group by all having count(*) = 1
)
select
    format('{} {}', weekly.channel, weekly.week_start) as subject,
    format('{:,.2f} in the week, {:,.2f} in its lines', weekly.spend, coalesce(summed.spend, 0)) as observed,
    1 as rows
from weekly
left join summed on summed.week_start = weekly.week_start and summed.channel = weekly.channel
where weekly.spend >= 0 and isfinite(weekly.spend) and abs(weekly.spend - coalesce(summed.spend, 0)) > 0.005
order by subject
