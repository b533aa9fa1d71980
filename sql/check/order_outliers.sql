-- purpose: single orders of an absurd amount; where the KPI is built from orders, its days are judged instead
-- grain: order
-- units: company currency per order; rows are orders
-- owner: growth data
-- source: orders
-- severity: warning
-- expected: no order is worth a thousand usual ones of its day
-- needs: staging.orders.revenue, raw.kpi.value
select
    orders.order_id as subject,
    format('{:,.2f}, the usual order of that day has {:,.2f}', orders.revenue::double, days.revenue_median) as observed,
    1 as rows
from staging.orders as orders
inner join orders_daily as days on days.date = orders.order_date
where orders.revenue > $order_absurd_factor * days.revenue_median
order by orders.revenue desc, orders.order_id
