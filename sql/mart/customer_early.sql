-- purpose: what was known of each customer on the day of the first order, and never changes later
-- grain: customer
-- units: first_order_hour 0 to 23 and first_order_weekday 1 (Monday) to 7 in the company's time zone
-- owner: growth data
with first_orders as (
    select customer_id, order_date, ordered_at, channel, campaign, country
    from staging.orders
    where order_date <= $as_of
    qualify row_number() over (partition by customer_id order by ordered_at, order_id) = 1
)
select
    first_orders.customer_id,
    first_orders.order_date as first_order_date,
    hour(timezone($timezone, timezone('UTC', first_orders.ordered_at)))::double as first_order_hour,
    isodow(first_orders.order_date)::double as first_order_weekday,
    coalesce(customers.channel, first_orders.channel, 'organic') as channel,
    -- a campaign belongs to the channel it came with
    case when customers.channel is null then first_orders.campaign else customers.campaign end as campaign,
    coalesce(first_orders.country, details.country) as country,
    details.device,
    details.destination,
    details.keyword_type
from first_orders
left join staging.customers as customers on customers.customer_id = first_orders.customer_id
left join raw.customers as details on details.customer_id = customers.customer_id
order by first_orders.customer_id
