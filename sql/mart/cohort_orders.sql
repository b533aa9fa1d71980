-- purpose: what the customers of each month brought by how long they have been customers
-- grain: channel x cohort_month x month; channel is the one that acquired the customer, cohort_month the first day of the
--   calendar month of the first order. Month 0 is the day of the first order, month m the time up to m months after
--   that day and after m - 1 months; a month without any order has no row
-- units: customers of the whole cohort, ordering_customers who placed an order in that month, returning_customers whose
--   first order after the first day falls in it; revenue and margin in company currency, net of refunds
-- owner: growth data
with aged as (
    select
        orders.customer_id,
        rfm.acquisition_channel as channel,
        date_trunc('month', rfm.first_order_date)::date as cohort_month,
        date_diff('month', rfm.first_order_date, orders.order_date)
        + case
            when orders.order_date > rfm.first_order_date + to_months(date_diff('month', rfm.first_order_date, orders.order_date)::integer)
                then 1
            else 0
        end as month,
        orders.net_revenue as revenue,
        -- an order that states no margin earns the margin of all that do; where none does, margin is revenue
        coalesce(orders.net_margin, (orders.net_revenue::double * overall.margin_fraction)::decimal(24, 6)) as margin
    from staging.orders as orders
    inner join mart.customer_rfm as rfm on rfm.customer_id = orders.customer_id
    cross join mart.margin_fraction as overall
    where orders.order_date <= $as_of
),
customer_months as (
    select channel, cohort_month, customer_id, month, sum(revenue) as revenue, sum(margin) as margin
    from aged
    group by channel, cohort_month, customer_id, month
),
numbered as (
    -- months are in order and the first is 0, so the second row of a customer is the first return
    select *, row_number() over (partition by customer_id order by month) = 2 as is_return
    from customer_months
),
sizes as (
    select channel, cohort_month, count(*) as customers
    from customer_months
    where month = 0
    group by channel, cohort_month
)
select
    numbered.channel,
    numbered.cohort_month,
    numbered.month::integer as month,
    any_value(sizes.customers) as customers,
    count(*) as ordering_customers,
    count(*) filter (where is_return) as returning_customers,
    sum(numbered.revenue)::double as revenue,
    sum(numbered.margin)::double as margin
from numbered
inner join sizes on sizes.channel = numbered.channel and sizes.cohort_month = numbered.cohort_month
group by numbered.channel, numbered.cohort_month, numbered.month
order by numbered.channel, numbered.cohort_month, numbered.month
