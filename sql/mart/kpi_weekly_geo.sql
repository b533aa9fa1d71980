-- purpose: the business result of each geo in every complete week; what names no geo stands under null
-- grain: week_start x geo
-- units: value in KPI units
-- owner: growth data
with booked as (
    select date_trunc('week', date)::date as week_start, geo, sum(value) as value
    from staging.kpi
    group by all
),
geos as (
    select distinct geo from booked
)
select
    calendar.week_start,
    geos.geo,
    coalesce(booked.value, 0)::double as value
from mart.calendar_weekly as calendar
cross join geos
left join booked on booked.week_start = calendar.week_start and booked.geo is not distinct from geos.geo
where calendar.week_start >= (select min(week_start) from booked)
order by calendar.week_start, geos.geo
