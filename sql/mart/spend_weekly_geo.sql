-- purpose: spend of each channel in each geo in every complete week, zero where nothing ran; what names no geo stands
--   under null
-- grain: week_start x geo x channel
-- units: spend in company currency; geo is the country in which the ads were shown
-- owner: growth data
with spent as (
    select date_trunc('week', date)::date as week_start, country as geo, channel, sum(cost) as spend
    from staging.ad_spend
    group by all
),
lines as (
    select distinct geo, channel from spent
)
select
    calendar.week_start,
    lines.geo,
    lines.channel,
    coalesce(spent.spend, 0)::double as spend
from mart.calendar_weekly as calendar
cross join lines
left join spent
    on
        spent.week_start = calendar.week_start
        and spent.geo is not distinct from lines.geo
        and spent.channel = lines.channel
order by calendar.week_start, lines.geo, lines.channel
