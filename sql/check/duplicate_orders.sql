-- purpose: orders that were exported twice under different numbers
-- grain: one row for the table
-- units: rows are orders beyond the first of each
-- owner: growth data
-- source: orders
-- severity: warning
-- expected: hardly any order repeats another of the same customer, minute and amount
-- needs: staging.orders.order_id
with twins as (
    select count(*) - 1 as extra_count, min(order_id) as first_id, max(order_id) as last_id
    from staging.orders
    where revenue > 0
    group by customer_id, date_trunc('minute', ordered_at), revenue
    having count(*) > 1
),
found as (
    select sum(extra_count) as extra_count, min(first_id) as first_id, arg_min(last_id, first_id) as last_id from twins
),
orders as (
    select count(*) as orders_count from staging.orders
)
select
    'orders' as subject,
    format('{} of {} orders repeat another, such as {} and {}', extra_count, orders_count, first_id, last_id) as observed,
    extra_count as rows
from found, orders
where extra_count > $duplicate_orders_fraction * orders_count
