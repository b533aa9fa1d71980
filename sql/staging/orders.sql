-- purpose: orders that were placed by a known customer, as placed and net of what was given back by the day of the run
-- grain: order
-- units: revenue and margin in company currency; ordered_at in UTC, order_date in the company's time zone
-- owner: growth data
with converted as (
    select
        orders.*,
        timezone($timezone, timezone('UTC', orders.ordered_at))::date as order_date,
        case when coalesce(orders.currency, $currency) = $currency then 1 else rates.rate end as rate,
        -- share of the order that was kept: what a stated amount leaves, none of it once refunded, else all
        case
            when timezone($timezone, timezone('UTC', orders.refunded_at))::date > $as_of then 1.0
            when orders.refunded > 0 and orders.revenue > 0 then greatest(1.0 - orders.refunded / orders.revenue, 0.0)
            when orders.refunded_at is null then 1.0
            else 0.0
        end as kept_fraction
    from raw.orders as orders
    left join staging.rates as rates
        on rates.currency = orders.currency and orders.ordered_at::date >= rates.valid_from and orders.ordered_at::date < rates.valid_until
    where timezone($timezone, timezone('UTC', orders.ordered_at))::date <= $as_of
)
select
    order_id,
    customer_id,
    ordered_at,
    order_date,
    (revenue * rate)::decimal(24, 6) as revenue,
    (margin * rate)::decimal(24, 6) as margin,
    (revenue * rate * kept_fraction)::decimal(24, 6) as net_revenue,
    (margin * rate * kept_fraction)::decimal(24, 6) as net_margin,
    country,
    channel,
    campaign,
    refunded_at
from converted
