-- purpose: the business result of every complete week
-- grain: week_start
-- units: value in KPI units
-- owner: growth data
with booked as (
    select
        date_trunc('week', date)::date as week_start,
        sum(value) as value,
        sum(orders_count) as orders_count
    from staging.kpi
    group by all
)
select
    calendar.week_start,
    coalesce(booked.value, 0)::double as value,
    coalesce(booked.orders_count, 0)::double as orders_count
from mart.calendar_weekly as calendar
left join booked on booked.week_start = calendar.week_start
where calendar.week_start >= (select min(week_start) from booked)
order by calendar.week_start
