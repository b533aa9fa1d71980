-- purpose: orders and customers that do not belong together
-- grain: one row for the table
-- units: rows are orders
-- owner: growth data
-- source: orders
-- severity: error
-- expected: most orders are of a customer in customers, so that both exports write the ids alike
-- needs: staging.orders.customer_id, staging.customers.customer_id
with unmatched as (
    select count(*) as rows, min(customer_id) as example
    from staging.orders
    where customer_id not in (select customer_id from staging.customers)
),
orders as (
    select count(*) as orders_count from staging.orders
)
select
    'customer_id' as subject,
    format('{} of {} orders are of nobody in customers, such as {}', rows, orders_count, example) as observed,
    rows
from unmatched, orders
where rows > $unmatched_fraction * orders_count
