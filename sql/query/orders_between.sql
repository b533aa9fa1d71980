-- purpose: what each customer ordered after one day, up to another
-- grain: customer
-- units: actual_orders counts order days; actual_value in company currency
-- owner: growth data
select
    customer_id,
    count(distinct order_date)::double as actual_orders,
    sum(revenue)::double as actual_value
from staging.orders
where order_date > $after and order_date <= $up_to
group by customer_id
order by customer_id
