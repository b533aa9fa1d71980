-- purpose: customers with what was known when they came
-- grain: customer
-- units: acquired_date in the company's time zone
-- owner: growth data
select
    customer_id,
    timezone($timezone, timezone('UTC', acquired_at))::date as acquired_date,
    channel,
    campaign
from raw.customers
where timezone($timezone, timezone('UTC', acquired_at))::date <= $as_of
