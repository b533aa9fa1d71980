-- purpose: orders that were placed by a known customer
-- grain: order
-- units: revenue and margin in company currency; ordered_at in UTC, order_date in the company's time zone
-- owner: growth data
select
    orders.order_id,
    orders.customer_id,
    orders.ordered_at,
    timezone($timezone, timezone('UTC', orders.ordered_at))::date as order_date,
    (orders.revenue * case when coalesce(orders.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as revenue,
    (orders.margin * case when coalesce(orders.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as margin,
    orders.country,
    orders.channel,
    orders.campaign,
    orders.refunded_at
from raw.orders as orders
left join staging.rates as rates
    on rates.currency = orders.currency and orders.ordered_at::date >= rates.valid_from and orders.ordered_at::date < rates.valid_until
where timezone($timezone, timezone('UTC', orders.ordered_at))::date <= $as_of
