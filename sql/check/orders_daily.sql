-- purpose: orders per day, as the checks of orders read them
-- grain: date
-- units: revenue_median in company currency per order
-- owner: growth data
select
    order_date as date,
    count(*) as orders_count,
    median(revenue::double) filter (where revenue > 0) as revenue_median
from staging.orders
group by order_date
