-- purpose: each customer's order history in the form that BG/NBD and Gamma-Gamma read
-- grain: customer
-- units: frequency counts repeat order days; recency and age in days since the first order; money in company currency,
--   net of refunds; `_before` is as it stood 56 days before the day of the run, null for newer customers
-- owner: growth data
with order_days as (
    select
        customer_id,
        order_date,
        sum(net_revenue) as revenue,
        -- an order that states no margin earns the margin of all that do; where none does, margin is revenue
        sum(coalesce(net_margin, (net_revenue::double * overall.margin_fraction)::decimal(24, 6))) as margin,
        arg_min(coalesce(channel, 'organic'), row(ordered_at, order_id)) as channel  -- a later claim says nothing of who acquired
    from staging.orders
    cross join mart.margin_fraction as overall
    where order_date <= $as_of
    group by customer_id, order_date
),
firsts as (
    select
        customer_id,
        min(order_date) as first_order_date,
        max(order_date) filter (where order_date <= $as_of::date - 56) as last_before
    from order_days
    group by customer_id
)
select
    order_days.customer_id,
    count(*) - 1 as frequency,
    (max(order_date) - first_order_date)::double as recency_days,
    ($as_of::date - first_order_date)::double as age_days,
    coalesce(
        sum(revenue) filter (where order_date > first_order_date)::double
        / nullif(count(*) - 1, 0),
        0
    ) as monetary_mean,
    sum(revenue)::double as revenue_total,
    coalesce(
        sum(margin) filter (where order_date > first_order_date)::double
        / nullif(count(*) - 1, 0),
        0
    ) as margin_mean,
    sum(margin)::double as margin_total,
    first_order_date,
    case when last_before is not null then count(*) filter (where order_date <= last_before) - 1 end as frequency_before,
    (last_before - first_order_date)::double as recency_before_days,
    coalesce(any_value(customers.channel), arg_min(order_days.channel, order_date)) as acquisition_channel
from order_days
inner join firsts on firsts.customer_id = order_days.customer_id
left join staging.customers as customers on customers.customer_id = order_days.customer_id
group by order_days.customer_id, first_order_date, last_before
order by order_days.customer_id
