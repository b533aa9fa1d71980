-- purpose: the channel that acquired each customer
-- grain: customer
-- units: none
-- owner: growth data
select customer_id, acquisition_channel as channel
from mart.customer_rfm
order by customer_id
