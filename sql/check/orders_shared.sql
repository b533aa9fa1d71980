-- purpose: orders that several clicks claim, of which the last click before the order is credited alone
-- grain: one row for the table
-- units: rows are orders
-- owner: growth data
-- source: clicks
-- severity: warning
-- expected: no order is named by several clicks, of which the last one before it counts and the others do not
-- needs: staging.clicks.order_id
with shared as (
    select order_id from staging.clicks where order_id is not null group by order_id having count(*) > 1
),
found as (
    select count(*) as rows, min(order_id) as example from shared
),
total as (
    select count(distinct order_id) as orders_count from staging.clicks
)
select
    'order_id' as subject,
    format('{} of {} orders are named by several clicks, such as {}', rows, orders_count, example) as observed,
    rows
from found, total
where rows > 0
