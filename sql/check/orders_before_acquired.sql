-- purpose: customers who ordered before they were acquired
-- grain: one row for the table
-- units: rows are customers
-- owner: growth data
-- source: customers
-- severity: warning
-- expected: hardly any customer has an order before the day of acquisition
-- needs: staging.customers.acquired_date, staging.orders.order_date
with firsts as (
    select customer_id, min(order_date) as first_day from staging.orders group by customer_id
),
known as (
    select count(*) as customers_count, count_if(first_day < acquired_date - 1) as early_count
    from staging.customers as customers
    inner join firsts on firsts.customer_id = customers.customer_id
)
select
    'acquired_at' as subject,
    format('{} of {} customers ordered before it', early_count, customers_count) as observed,
    early_count as rows
from known
where early_count > $early_orders_fraction * customers_count
