-- purpose: mean of each control in every complete week
-- grain: week_start x name
-- units: as delivered
-- owner: growth data
select
    calendar.week_start,
    controls.name,
    avg(controls.value::decimal(24, 6))::double as value
from staging.controls as controls
inner join mart.calendar_weekly as calendar on calendar.week_start = date_trunc('week', controls.date)::date
group by all
order by calendar.week_start, controls.name
