-- purpose: what each customer ordered on each day, apart by the day on which it was given back
-- grain: customer, order_date, refunded_date (null where nothing was given back by as_of)
-- units: revenue and margin as placed and net_ of what was given back by as_of, in company currency; dates in the
--   company's time zone
-- owner: growth data
select
    customer_id,
    order_date,
    case
        when timezone($timezone, timezone('UTC', refunded_at))::date <= $as_of
            then timezone($timezone, timezone('UTC', refunded_at))::date
    end as refunded_date,
    count(*) as orders,
    sum(revenue)::double as revenue,
    sum(margin)::double as margin,
    sum(net_revenue)::double as net_revenue,
    sum(net_margin)::double as net_margin
from staging.orders
where order_date <= $as_of
group by all
order by customer_id, order_date, refunded_date
