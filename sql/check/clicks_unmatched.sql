-- purpose: clicks and orders that do not belong together
-- grain: one row for the table
-- units: rows are clicks
-- owner: growth data
-- source: clicks
-- severity: error
-- expected: most orders that clicks name stand in orders, so that both exports write the ids alike
-- needs: staging.clicks.order_id, staging.orders.order_id
with named as (
    select order_id from staging.clicks where order_id is not null
),
unmatched as (
    select count(*) as rows, min(order_id) as example
    from named
    where order_id not in (select order_id from staging.orders)
),
total as (
    select count(*) as clicks_count from named
)
select
    'order_id' as subject,
    format('{} of {} clicks with an order name one that is not in orders, such as {}', rows, clicks_count, example) as observed,
    rows
from unmatched, total
where rows > $unmatched_fraction * clicks_count
