-- purpose: each customer's order history in the form that BG/NBD and Gamma-Gamma read
-- grain: customer
-- units: frequency counts repeat order days; recency and age in days since the first order; money in company currency
-- owner: growth data
with order_days as (
    select
        customer_id,
        order_date,
        sum(revenue) as revenue,
        arg_min(channel, ordered_at) as channel
    from staging.orders
    where order_date <= $as_of
    group by customer_id, order_date
),
firsts as (
    select customer_id, min(order_date) as first_order_date from order_days group by customer_id
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
    first_order_date,
    coalesce(any_value(customers.channel), arg_min(order_days.channel, order_date), 'organic') as acquisition_channel
from order_days
inner join firsts on firsts.customer_id = order_days.customer_id
left join staging.customers as customers on customers.customer_id = order_days.customer_id
group by order_days.customer_id, first_order_date
order by order_days.customer_id
