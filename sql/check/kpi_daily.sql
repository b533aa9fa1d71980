-- purpose: the business result per day, as the checks of kpi read it
-- grain: date
-- units: value in KPI units
-- owner: growth data
select date, coalesce(sum(value), 0)::double as value from staging.kpi group by date
