-- purpose: customers whose first order is recent enough to be valued by its early signals
-- grain: customer
-- units: first_order_date in the company's time zone
-- owner: growth data
select customer_id, first_order_date
from mart.customer_early
where first_order_date > $since and first_order_date <= $as_of
order by customer_id
