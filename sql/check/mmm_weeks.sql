-- purpose: weeks that the mix model would miss, count twice or find without a number
-- grain: table x week_start x channel
-- units: rows are weeks
-- owner: growth data
-- source: mart.spend_weekly
-- severity: error
-- expected: every complete week stands once per channel and once in the KPI, with a finite number that is not below zero
-- needs: mart.spend_weekly.spend
with found as (
    select 'spend' as name, calendar.week_start, channels.channel, weekly.spend as value
    from mart.calendar_weekly as calendar
    cross join (select distinct channel from spend_daily) as channels
    left join mart.spend_weekly as weekly
        on weekly.week_start = calendar.week_start and weekly.channel = channels.channel
    union all
    select 'result' as name, calendar.week_start, '' as channel, weekly.value
    from mart.calendar_weekly as calendar
    left join mart.kpi_weekly as weekly on weekly.week_start = calendar.week_start
    where calendar.week_start >= (select min(week_start) from mart.kpi_weekly)
)
select
    trim(format('{} {} {}', name, week_start, channel)) as subject,
    case
        when count(*) > 1 then format('stands {} times', count(*))
        when count(value) = 0 then 'is missing'
        else format('is {}', any_value(value))
    end as observed,
    count(*) as rows
from found
group by name, week_start, channel
having count(*) > 1 or count(value) = 0 or not bool_and(isfinite(value)) or (name = 'spend' and min(value) < 0)
order by name, week_start, channel
