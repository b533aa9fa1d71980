-- purpose: the business result per day, as delivered or else built from orders
-- grain: date x geo
-- units: value in KPI units (company currency, or conversions)
-- owner: growth data
select
    kpi.date,
    (kpi.value * case when coalesce(kpi.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as value,
    kpi.orders as orders_count,
    kpi.geo
from raw.kpi as kpi
left join staging.rates as rates
    on rates.currency = kpi.currency and kpi.date >= rates.valid_from and kpi.date < rates.valid_until
where kpi.date <= $as_of
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
