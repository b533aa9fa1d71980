-- purpose: orders that were placed by a known customer
-- grain: order
-- units: revenue and margin in company currency
-- owner: growth data
select
    order_id,
    customer_id,
    ordered_at,
    ordered_at::date as order_date,
    revenue::decimal(24, 6) as revenue,
    margin::decimal(24, 6) as margin,
    country,
    channel,
    campaign,
    refunded_at
from raw.orders
where ordered_at::date <= $as_of
