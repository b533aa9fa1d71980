-- purpose: what each customer ordered on each day, apart by the day on which it was given back
-- grain: customer, order_date, refunded_date (null where nothing was given back by as_of; what was given back without a
--   date counts from the order on)
-- units: revenue and margin as placed and net_ of what was given back by as_of, in company currency; dates in the
--   company's time zone
-- owner: growth data
select
    customer_id,
    order_date,
    case
        when timezone($timezone, timezone('UTC', refunded_at))::date <= $as_of
            then timezone($timezone, timezone('UTC', refunded_at))::date
        when refunded_at is null and net_revenue < revenue then order_date
    end as refunded_date,
    count(*) as orders,
    sum(revenue)::double as revenue,
    sum(coalesce(margin, (revenue::double * overall.margin_fraction)::decimal(24, 6)))::double as margin,
    sum(net_revenue)::double as net_revenue,
    sum(coalesce(net_margin, (net_revenue::double * overall.margin_fraction)::decimal(24, 6)))::double as net_margin
from staging.orders
cross join mart.margin_fraction as overall
where order_date <= $as_of
group by all
order by customer_id, order_date, refunded_date
