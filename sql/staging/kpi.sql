-- purpose: the business result per day, as delivered or else built from orders
-- grain: date x geo
-- units: value in KPI units (company currency, or conversions)
-- owner: growth data
select
    date,
    value::decimal(24, 6) as value,
    orders as orders_count,
    geo
from raw.kpi
where date <= $as_of
union all by name
select
    order_date as date,
    sum(
        case $kpi_value when 'revenue' then revenue when 'margin' then coalesce(margin, revenue) else 1 end
    )::decimal(24, 6) as value,
    count(*) as orders_count,
    country as geo
from staging.orders
where not exists (select 1 from raw.kpi)
group by order_date, country
