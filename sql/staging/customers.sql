-- purpose: customers with what was known when they came
-- grain: customer
-- units: none
-- owner: growth data
select
    customer_id,
    acquired_at::date as acquired_date,
    channel,
    campaign
from raw.customers
where acquired_at::date <= $as_of
